import numpy as np
import pytest

from tests.ranker.features.state.small_state import Log, Machine, one, one_wait, together

T = 10**12


def shown(*videos: str | None, user: str | None = "u", **labels: float) -> Log:
    """Impressions a second apart, and a last one that is only there for its time."""
    rows = [one(T + 1000 * n, labels, user_id=user, video_id=v, tags=[]) for n, v in enumerate(videos)]
    return together(*rows, one(T + 10**6))


def later(log: Log) -> Log:
    return Log(log.rows, log.times + 10**6, log.labels)


def entries(machine: Machine, feature: str, user: str = "u") -> list[tuple[str, float]]:
    """The newest first, as of ten seconds."""
    found = machine.look_up(one(T + 10_000, user_id=user))[feature][0]
    values, ages_s = np.split(found, 2)
    names = {hashed: name for name, hashed in machine.hashes(["a", "b", "c", "d", "x", "y"]).items()}
    return [(names[value], age) for value, age in zip(values, ages_s, strict=True) if not np.isnan(age)]


def test_the_last_videos_are_remembered_the_newest_first_with_their_ages() -> None:
    machine = Machine(one_wait(0))
    machine.replay(shown("a", "b", "c", "d"))

    assert entries(machine, "shown") == [("d", 7), ("c", 8), ("b", 9)]


def test_each_viewer_has_a_history() -> None:
    machine = Machine(one_wait(0))
    machine.replay(shown("a"))
    machine.replay(later(shown("b", user="w")))

    assert [name for name, _ in entries(machine, "shown")] == ["a"]
    assert [name for name, _ in entries(machine, "shown", "w")] == ["b"]
    assert entries(machine, "shown", "nobody") == []


@pytest.mark.parametrize(("watch_time", "remembered"), [(4.9, 0), (5.0, 0), (5.1, 1), (np.nan, 0)])
def test_a_label_admits_above_its_bound_in_natural_units(watch_time: float, remembered: int) -> None:
    machine = Machine(one_wait(0))
    machine.replay(shown("a", watch_time=watch_time))

    assert len(entries(machine, "watched")) == remembered


@pytest.mark.parametrize(("skip", "remembered"), [(0.0, 2), (1.0, 0), (np.nan, 0)])
def test_a_label_admits_below_its_bound_and_each_item_of_a_list_is_an_entry(
    skip: float, remembered: int
) -> None:
    machine = Machine(one_wait(0))
    machine.replay(together(one(T, {"skip": skip}, user_id="u", tags=["x", "y"]), one(T + 1)))

    assert [name for name, _ in entries(machine, "skipped_tags")] == ["y", "x"][:remembered]


def test_missing_videos_and_viewers_are_not_remembered() -> None:
    machine = Machine(one_wait(0))
    machine.replay(shown("a", None, "b"))
    machine.replay(later(shown("c", user=None)))

    assert [name for name, _ in entries(machine, "shown")] == ["b", "a"]
