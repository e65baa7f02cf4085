import numpy as np
import pytest

from training.sources.lone_times import GAP_MS, LoneRows, Part, lone_rows

NOW_MS = 1_750_000_000_000


class Log:
    """Parts of given times, and how many of them were read."""

    def __init__(self, *parts: list[int]) -> None:
        self.read = 0
        self.parts = [Part(max(times), len(times), lambda times=times: self._times(times)) for times in parts]

    def _times(self, times: list[int]) -> np.ndarray:
        self.read += 1
        return np.array(times, np.int64)


def minutes(count: int, first_ms: int = NOW_MS) -> list[int]:
    return [first_ms + 60_000 * minute for minute in range(count)]


END_MS = minutes(300)[-1]


@pytest.mark.parametrize("place", [0, 1])
def test_a_row_that_is_far_after_all_others_is_alone(place: int) -> None:
    parts = [minutes(150), minutes(150, NOW_MS + 150 * 60_000)]
    parts[place].insert(7, END_MS + GAP_MS + 1)

    assert lone_rows(Log(*parts).parts) == LoneRows(1, END_MS + GAP_MS + 1, END_MS)


def test_a_gap_of_exactly_the_limit_is_none() -> None:
    assert lone_rows(Log([*minutes(300), END_MS + GAP_MS]).parts) is None


@pytest.mark.parametrize(("late", "alone"), [(3, True), (4, False)])
def test_a_log_that_was_taken_up_again_goes_on(late: int, alone: bool) -> None:
    """Of 300 rows, three are a hundredth."""
    found = lone_rows(Log([*minutes(300), *minutes(late, NOW_MS + 10 * GAP_MS)]).parts)

    assert (found is not None) is alone


def test_in_a_large_log_a_thousand_rows_are_no_mistake() -> None:
    rows = np.arange(200_000) + NOW_MS
    for late, alone in ((1000, True), (1001, False)):
        log = Log(rows.tolist(), minutes(late, NOW_MS + 10 * GAP_MS))
        assert (lone_rows(log.parts) is not None) is alone


def test_a_small_log_may_have_any_gaps() -> None:
    assert lone_rows(Log([GAP_MS * 2 * row for row in range(99)]).parts) is None
    assert lone_rows(Log([NOW_MS]).parts) is None
    assert lone_rows([]) is None


def test_a_gap_that_another_part_fills_is_none() -> None:
    across = [NOW_MS, *minutes(3, NOW_MS + 3 * GAP_MS)]
    between = [NOW_MS + day * 86_400_000 for day in range(91)] * 4

    assert lone_rows(Log(across, between).parts) is None
    assert lone_rows(Log(across, [NOW_MS] * 400).parts) == LoneRows(3, NOW_MS + 3 * GAP_MS, NOW_MS)


def test_of_a_log_in_order_only_the_newest_part_is_read() -> None:
    log = Log(*(minutes(500, NOW_MS + day * 86_400_000) for day in range(20)))

    assert lone_rows(log.parts) is None
    assert log.read == 1
