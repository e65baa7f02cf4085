"""Cutting rows of impressions into batches, by made impressions of a number of rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ranker.stream.event_log import EntryId
from ranker.stream.joined import START, Joined
from tests.ranker.stream.made_events import impression
from training.sources.joined_rows import CONVERTED_ROWS, JoinedRows

FLUSH_MS = 10
SHOWN = impression("r", [{"video_id": "v"}])


def joined(time_ms: int, rows: int) -> Joined:
    return Joined(
        EntryId(time_ms, 0),
        time_ms,
        SHOWN,
        np.zeros((rows + 1, 1), np.float32),
        np.array([0, *range(1, rows + 1)]),  # the first video was not seen
        replace(START, oldest=EntryId(time_ms, 0)),
    )


def read(impressions: Sequence[Joined]) -> pa.RecordBatch:
    """A row of each video that was seen: its impression's time, and its place there."""
    rows = [(one.time_ms, row) for one in impressions for row in range(len(one.positions) - 1)]
    return pa.RecordBatch.from_pydict({"time_ms": [r[0] for r in rows], "row": [r[1] for r in rows]})


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 7)), min_size=1, max_size=30),
    st.integers(1, 9),
    st.booleans(),
    st.data(),
)
def test_batches_are_the_same_however_many_impressions_come_at_once(
    drawn: list[tuple[int, int]], rows: int, whole_times: bool, data: st.DataObject
) -> None:
    times = np.cumsum([pause for pause, _ in drawn]).tolist()
    impressions = [joined(time_ms, count) for time_ms, (_, count) in zip(times, drawn, strict=True)]
    end_ms = times[-1] + FLUSH_MS

    at_once = JoinedRows(rows, FLUSH_MS, whole_times=whole_times)
    at_once.add(impressions)
    expected = list(at_once.cut(read, end_ms))

    in_pieces, found, left = JoinedRows(rows, FLUSH_MS, whole_times=whole_times), [], impressions
    while left:
        count = data.draw(st.integers(1, len(left)))
        in_pieces.add(left[:count])
        complete_ms = data.draw(st.integers(0, left[count].time_ms if count < len(left) else end_ms))
        left = left[count:]
        if in_pieces.is_due(complete_ms):
            found += in_pieces.cut(read, complete_ms)
    found += in_pieces.cut(read, end_ms)
    assert found == expected
    read_rows = [row for cut in found for row in zip(*cut.records.to_pydict().values(), strict=True)]
    assert read_rows == list(zip(*read(impressions).to_pydict().values(), strict=True))
    for cut in found:
        cut_times = cut.records["time_ms"].to_pylist()
        assert cut_times[0] // FLUSH_MS == cut_times[-1] // FLUSH_MS
        assert cut_times[-1] <= cut.reached_ms <= (cut_times[-1] // FLUSH_MS + 1) * FLUSH_MS
        assert whole_times or cut.records.num_rows <= rows


def test_rows_that_were_taken_before_are_skipped() -> None:
    rows = JoinedRows(3, FLUSH_MS, skip_rows=2)
    rows.add([joined(1, 4), joined(2, 2)])

    (first, second) = rows.cut(read, FLUSH_MS)

    assert first.records.to_pydict() == {"time_ms": [1, 1, 2], "row": [2, 3, 0]}
    assert first.offset == replace(START, oldest=EntryId(2, 0), rows=1)
    assert second.records.to_pydict() == {"time_ms": [2], "row": [1]}
    assert (first.reached_ms, second.reached_ms) == (2, FLUSH_MS)


def test_many_rows_become_columns_though_no_batch_is_full() -> None:
    rows = JoinedRows(10**6, 10**9)
    for number in range(5_000):
        rows.add([joined(number, 1)])
        assert rows.is_due(0) == (number % CONVERTED_ROWS == CONVERTED_ROWS - 1)
        if rows.is_due(0):
            assert list(rows.cut(read, 0)) == []
