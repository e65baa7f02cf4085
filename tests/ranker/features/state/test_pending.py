import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranker.features.state.pending import Pending


def rows(numbers: list[int]) -> dict[str, np.ndarray]:
    found = np.array(numbers, np.int64)
    return {"one": found, "two": np.stack([found, -found], axis=1).astype(np.float32)}


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=20))
def test_rows_come_out_as_they_went_in(steps: list[tuple[int, float]]) -> None:
    pending, kept, number = Pending(), list[int](), 0
    for count, share in steps:
        added = list(range(number, number + count))
        number += count
        pending.append(rows(added))
        kept += added
        dropped = int(share * len(kept))
        pending.drop(dropped)
        kept = kept[dropped:]

        assert len(pending) == len(kept)
        assert pending["one"].tolist() == kept
        assert pending["two"].tolist() == [[n, -n] for n in kept]


def test_rows_can_be_saved_and_gone_on_from() -> None:
    pending, loaded = Pending(), Pending()
    pending.append(rows([1, 2, 3]))
    pending.drop(2)

    loaded.load(pending.state())
    pending.append(rows([4]))

    loaded.append(rows([7, 8]))
    assert loaded["one"].tolist() == [3, 7, 8]


def test_nothing_can_be_saved_and_gone_on_from() -> None:
    pending, loaded = Pending(), Pending()

    loaded.load(pending.state())

    loaded.append(rows([1]))
    assert loaded["one"].tolist() == [1]


def test_memory_is_bounded_by_the_rows_that_wait() -> None:
    pending = Pending()
    for number in range(1000):
        pending.append(rows([number] * 10))
        pending.drop(len(pending) - 5)

    assert pending["one"].base is not None
    assert len(pending["one"].base) < 100
