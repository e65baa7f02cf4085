import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.features.hashing import combine, hash_strings

VALUES = ["", "a", "712", "12345678", "123456789", "køb 日本", "x" * 1000]
GOLDEN_SEED_0 = [
    0xA706DD2F4D197E6F,
    0xB03B74D0FBC965F3,
    0xA2973C3A77C0E3FF,
    0x7AE2F84970181C79,
    0x04D99BBF6993B48B,
    0xD4BD93B326C67D7A,
    0xF1A5FD89DF14A36E,
]
GOLDEN_LARGEST_SEED = [
    0x69C9D98A86C5CD1E,
    0x4578171BEAAEFAE1,
    0xEF140F12F7006FAF,
    0x9426F68EBEB170DE,
    0x0E98A22825C45800,
    0x45A73F762F1F1546,
    0xB3170196FB52B76D,
]

GOLDEN_COMBINED = [0x7679398D1E151D12, 0xA8F2E1FBC36D27D4]


def hashes(values: list[str | None] | pa.Array, seed: int = 0) -> list[int]:
    column = values if isinstance(values, pa.Array) else pa.array(values, pa.string())
    return hash_strings(column, seed=seed).tolist()


def test_hashes_never_change_because_bundles_depend_on_them() -> None:
    assert hashes(VALUES, seed=0) == GOLDEN_SEED_0
    assert hashes(VALUES, seed=2**63 - 1) == GOLDEN_LARGEST_SEED


def test_another_seed_gives_other_hashes() -> None:
    values = [str(i) for i in range(1000)]

    assert not set(hashes(values, seed=0)) & set(hashes(values, seed=1))


@given(st.lists(st.text(max_size=40) | st.none()), st.data())
def test_a_hash_depends_on_nothing_but_the_value(values: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    stop = data.draw(st.integers(start, len(values)))
    column = pa.array(values, pa.string())
    alone = [hashes([value])[0] for value in values]

    assert hashes(column.slice(start, stop - start)) == alone[start:stop]
    assert hashes(pa.concat_arrays([column, column])) == alone * 2


@given(st.lists(st.text(alphabet="ab\x00é", max_size=20), unique=True))
def test_different_values_have_different_hashes(values: list[str]) -> None:
    assert len(set(hashes(values))) == len(values)


def test_no_values_have_no_hashes() -> None:
    assert hashes([]) == []
    assert hashes(pa.nulls(0, pa.string())) == []


@pytest.mark.parametrize("seed", [0, 1, 2**62])
@pytest.mark.parametrize("form", ["{}", "user_{}", "{:020d}"])
def test_hashes_spread_evenly_over_buckets(seed: int, form: str) -> None:
    buckets = 100
    values = [form.format(i) for i in range(50_000)]

    counts = np.bincount(np.array(hashes(values, seed), np.uint64) % np.uint64(buckets), minlength=buckets)

    chi_square = ((counts - 500) ** 2 / 500).sum()  # 99 degrees of freedom: 149 at a chance of 1 in 1000
    assert 61 < chi_square < 149


def test_every_bit_of_the_hash_depends_on_every_byte() -> None:
    text = "0123456789abcdef"
    changed = [text[:place] + "_" + text[place + 1 :] for place in range(len(text))]

    whole, *others = hashes([text, *changed])
    flipped = [(whole ^ other).bit_count() for other in others]

    assert min(flipped) > 16
    assert max(flipped) < 48


def test_combined_hashes_never_change_because_bundles_depend_on_them() -> None:
    golden = np.array(GOLDEN_SEED_0, np.uint64)

    assert combine([golden[:2], golden[2:4]]).tolist() == GOLDEN_COMBINED


def test_combined_hashes_depend_on_the_order_and_on_every_part() -> None:
    a, b = (np.array(hashes([text]), np.uint64) for text in "ab")

    combined = [combine(parts).tolist()[0] for parts in ([a, b], [b, a], [a, a], [b, b], [a], [b], [a, b, a])]

    assert len(set(combined)) == 7
