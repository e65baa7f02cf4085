"""What every source promises in `training/sources/base.py`, held over all of them."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.errors import SourceError
from ranker.events import TIME_MS, USER_ID, VIDEO_ID, check_records
from tests.training.sources.kuairand.small_kuairand import impression, write_kuairand
from training.sources.base import Offset, Source
from training.sources.kuairand.source import KuaiRandSource
from training.sources.parquet import ParquetSource
from training.sources.simulated.source import SimulatedSource
from training.sources.simulated.world import WorldConfig

ROWS = 400


def kuairand(folder: Path) -> Source:
    draw = random.Random(0)
    rows = [
        impression(
            draw.randrange(4), draw.randrange(9, 14), draw.randrange(600_000), is_click=draw.randrange(2)
        )
        for _ in range(ROWS)
    ]
    write_kuairand(folder, rows)
    return KuaiRandSource(folder)


def parquet(folder: Path) -> Source:
    draw = random.Random(1)
    for number in range(3):
        times = [draw.randrange(300) for _ in range(ROWS // 3)]
        ids = {USER_ID: [f"u{time % 5}" for time in times], VIDEO_ID: [draw.randrange(9) for _ in times]}
        pq.write_table(pa.table({TIME_MS: times, **ids}), folder / f"{number}.parquet", row_group_size=17)
    return ParquetSource(str(folder))


def simulated(folder: Path) -> Source:
    return SimulatedSource(days=1, config=WorldConfig())


SOURCES: list[Callable[[Path], Source]] = [kuairand, parquet, simulated]


@pytest.fixture(scope="module", params=SOURCES, ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    return request.param(tmp_path_factory.mktemp("source"))


@cache
def whole_log(source: Source) -> pa.Table:
    return pa.Table.from_batches(source.records(1_000_000), schema=source.schema)


def test_rows_come_in_time_order(source: Source) -> None:
    times = whole_log(source)[TIME_MS].to_numpy()

    assert len(times) > 100
    assert (times[1:] >= times[:-1]).all()


def test_batches_have_the_schema_of_examples(source: Source) -> None:
    check_records(source.schema, where=source.name)

    assert all(batch.schema == source.schema for batch in source.records(64))


def offset_after(source: Source, rows: int, since_ms: int | None = None) -> Offset | None:
    """An offset after so many rows, as it comes back from JSON; None at the beginning."""
    first = next(source.batches(rows, since_ms=since_ms), None) if rows else None
    return None if first is None else json.loads(json.dumps(first.offset))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_batches_of_any_size_from_any_row_make_the_same_log(source: Source, data: st.DataObject) -> None:
    whole = whole_log(source)
    rows = data.draw(st.integers(max(1, whole.num_rows // 60), whole.num_rows + 1))
    taken = data.draw(st.integers(0, whole.num_rows + 1))

    found = source.batches(rows, resume_from=offset_after(source, taken))

    batches = [batch.records for batch in found]
    assert pa.Table.from_batches(batches, schema=source.schema).equals(whole.slice(taken))
    assert all(batch.num_rows == rows for batch in batches[:-1])
    assert all(0 < batch.num_rows <= rows for batch in batches[-1:])


@settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_resuming_from_any_offset_yields_the_batches_that_are_left(
    source: Source, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(20, 150))
    since_ms = data.draw(st.none() | st.sampled_from(whole_log(source)[TIME_MS].to_pylist()))
    whole = list(source.batches(rows, since_ms=since_ms))
    stops = data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3).map(sorted))

    offset, done = None, 0
    for stop in stops:  # resumed runs are resumed again
        left = list(source.batches(rows, since_ms=since_ms, resume_from=offset))
        assert [batch.records for batch in left] == [batch.records for batch in whole[done:]]
        if stop >= done:
            offset, done = json.loads(json.dumps(left[stop - done].offset)), stop + 1
    assert [b.records for b in source.batches(rows, since_ms=since_ms, resume_from=offset)] == [
        batch.records for batch in whole[done:]
    ]


def test_the_offset_of_another_kind_of_log_is_refused(source: Source) -> None:
    with pytest.raises(SourceError, match=f"{source.name}: expected an offset in this kind of log"):
        next(source.batches(10, resume_from={"line": 3}))


def test_an_offset_is_refused_where_reading_began_at_another_time(source: Source) -> None:
    since_ms = whole_log(source)[TIME_MS][5].as_py()
    offset = offset_after(source, 20, since_ms)
    with pytest.raises(
        SourceError, match=f"expected to go on reading from time_ms {since_ms} on, found None"
    ):
        next(source.batches(10, resume_from=offset))


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_bounds_take_a_part_of_the_log(source: Source, data: st.DataObject) -> None:
    whole = whole_log(source)
    times = whole[TIME_MS]
    bound = st.none() | st.integers(times[0].as_py() - 1, times[-1].as_py() + 1)
    since_ms, until_ms = data.draw(bound), data.draw(bound)
    taken = data.draw(st.integers(0, 50))
    part = whole
    if since_ms is not None:
        part = part.filter(pc.field(TIME_MS) >= since_ms)
    offset = offset_after(source, taken, since_ms)
    part = part.slice(taken)
    if until_ms is not None:
        part = part.filter(pc.field(TIME_MS) < until_ms)

    found = source.batches(whole.num_rows, since_ms=since_ms, until_ms=until_ms, resume_from=offset)

    assert pa.Table.from_batches((batch.records for batch in found), schema=source.schema).equals(part)


def test_every_user_and_video_comes_once(source: Source) -> None:
    for key, batches in ((USER_ID, source.users()), (VIDEO_ID, source.videos())):
        ids = pa.Table.from_batches(batches)[key]
        assert ids.null_count == 0
        assert pc.count_distinct(ids).as_py() == len(ids) > 0
