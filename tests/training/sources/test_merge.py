import logging
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import SourceError
from training.sources.merge import Chunk, TimeMerge, rebatch

chunk_times = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), max_size=8)


def chunk(where: str, times: list[int], opened: list[str] | None = None) -> Chunk:
    def read() -> pa.Table:
        if opened is not None:
            opened.append(where)
        return pa.table(
            {"time_ms": pa.array(times, pa.int64()), "row": [f"{where}:{i}" for i in range(len(times))]}
        )

    return Chunk(where, min(times), max(times), read)


def rows_of(merge: TimeMerge) -> list[tuple[int, str]]:
    return [(row["time_ms"], row["row"]) for table in merge for row in table.to_pylist()]


def stable_sort(parts: list[list[int]]) -> list[tuple[int, str]]:
    rows = [(time, f"{c}:{i}") for c, times in enumerate(parts) for i, time in enumerate(times)]
    return sorted(rows, key=lambda row: row[0])


@given(chunk_times)
def test_merge_equals_a_stable_sort_of_all_rows(parts: list[list[int]]) -> None:
    merge = TimeMerge([chunk(str(c), times) for c, times in enumerate(parts)], reorder_rows=None)

    assert rows_of(merge) == stable_sort(parts)


@given(chunk_times)
def test_rows_of_one_time_stand_in_one_table(parts: list[list[int]]) -> None:
    merge = TimeMerge([chunk(str(c), times) for c, times in enumerate(parts)], reorder_rows=None)

    seen = [time for table in merge for time in set(table["time_ms"].to_pylist())]
    assert len(seen) == len(set(seen))


@given(chunk_times, st.integers(0, 41), st.integers(0, 41))
def test_bounds_select_by_time(parts: list[list[int]], since_ms: int, until_ms: int) -> None:
    merge = TimeMerge(
        [chunk(str(c), times) for c, times in enumerate(parts)], since_ms=since_ms, until_ms=until_ms
    )

    assert rows_of(merge) == [row for row in stable_sort(parts) if since_ms <= row[0] < until_ms]


@given(chunk_times, st.integers(1, 10), st.integers(0, 41))
def test_an_earlier_end_changes_no_row_before_it(parts: list[list[int]], bound: int, until_ms: int) -> None:
    chunks = [chunk(str(c), times) for c, times in enumerate(parts)]

    rows = rows_of(TimeMerge(chunks, reorder_rows=bound))
    until = rows_of(TimeMerge(chunks, reorder_rows=bound, until_ms=until_ms))

    assert until == [row for row in rows if row[0] < until_ms]


@given(chunk_times, st.integers(1, 10))
def test_a_small_buffer_keeps_the_order_and_counts_what_it_dropped(
    parts: list[list[int]], bound: int
) -> None:
    merge = TimeMerge([chunk(str(c), times) for c, times in enumerate(parts)], reorder_rows=bound)

    rows = rows_of(merge)

    assert [time for time, _ in rows] == sorted(time for time, _ in rows)
    assert len(rows) + merge.late_rows == sum(map(len, parts))
    assert merge.max_buffered_rows <= bound + max(map(len, parts), default=0)


def test_chunks_in_order_stream_through() -> None:
    opened: list[str] = []
    merge = TimeMerge([chunk(str(c), list(range(10 * c, 10 * c + 10)), opened) for c in range(50)])

    stream = iter(merge)
    first = next(stream)

    assert first["time_ms"].to_pylist() == list(range(10))
    assert opened == ["0"]
    assert sum(table.num_rows for table in stream) == 490
    assert merge.max_buffered_rows == 10


def test_chunks_outside_the_bounds_are_not_read() -> None:
    opened: list[str] = []
    chunks = [chunk(str(c), [10 * c, 10 * c + 9], opened) for c in range(10)]

    assert [time for time, _ in rows_of(TimeMerge(chunks, since_ms=39, until_ms=50))] == [39, 40, 49]
    assert opened == ["3", "4"]


def overlapping_beyond_the_buffer() -> list[Chunk]:
    return [chunk("a", [0, 1, 2, 3, 90]), chunk("b", [1, 80]), chunk("c", [1, 2, 95])]


def test_late_rows_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    merge = TimeMerge(overlapping_beyond_the_buffer(), reorder_rows=2)

    with caplog.at_level(logging.WARNING):
        times = [time for time, _ in rows_of(merge)]

    assert times == [0, 1, 2, 3, 80, 90, 95]
    assert merge.late_rows == 3
    assert "dropped 3 rows" in caplog.text


def test_late_rows_are_refused_with_place_and_times() -> None:
    merge = TimeMerge(overlapping_beyond_the_buffer(), reorder_rows=2, late="refuse")

    with pytest.raises(
        SourceError, match=r"^b: expected rows from time_ms 2 on, found 1 older, the first 1;"
    ):
        rows_of(merge)


def test_a_row_without_time_is_refused() -> None:
    nameless = Chunk(
        "f.parquet, row group 0", 0, 9, lambda: pa.table({"time_ms": pa.array([0, None, 9], pa.int64())})
    )

    with pytest.raises(
        SourceError, match=r"f\.parquet, row group 0: expected 'time_ms' in every row, found 1 rows"
    ):
        list(TimeMerge([nameless]))


@given(st.lists(st.integers(0, 20)), st.integers(1, 15), st.integers(0, 60))
def test_rebatch_cuts_exactly(sizes: list[int], rows: int, skip_rows: int) -> None:
    whole = np.arange(sum(sizes))

    def tables() -> Iterator[pa.Table]:
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            yield pa.table({"n": whole[start : start + size]})

    batches = list(rebatch(tables(), rows, skip_rows=skip_rows))

    assert [n for batch in batches for n in batch["n"].to_pylist()] == whole[skip_rows:].tolist()
    assert all(batch.num_rows == rows for batch in batches[:-1])
    assert all(0 < batch.num_rows <= rows for batch in batches[-1:])
