"""The log of events as a source, against a search of the whole log, and read again from any batch."""

import itertools
import json
import logging
import random
from contextlib import closing
from typing import Any

import pytest
import redis

from ranker.errors import EventLogError, SourceError
from ranker.store.connection import connect_later
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import rejected_counts
from tests.serving.redis_process import redis_process
from tests.training.live_log import BEGAN_MS, LIVE_SPEC, WAIT_S, joined_by_search, random_log, write
from training.sources import live as module
from training.sources.base import SourceBatch
from training.sources.live import LiveSource

END_MS = BEGAN_MS + 1_000_000
FLUSH_S = 2.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for entries that do not come."""
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


def source(client: redis.Redis, **options: Any) -> LiveSource:
    return LiveSource(
        LIVE_SPEC, client, **{"wait_s": WAIT_S, "stop": lambda: False, "flush_s": FLUSH_S} | options
    )


def rows_of(batches: list[SourceBatch], names: list[str]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.records.select(names).to_pylist()]


def cut(rows: list[dict[str, Any]], most: int) -> list[int]:
    """The sizes of the batches that some rows make."""
    sizes = []
    for _, stretch in itertools.groupby(rows, lambda row: row["time_ms"] // int(FLUSH_S * 1000)):
        count = len(list(stretch))
        sizes += [most] * (count // most) + [count % most] * (count % most > 0)
    return sizes


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_what_a_search_of_the_whole_log_finds(client: redis.Redis, seed: int) -> None:
    entries = random_log(30, seed=seed)
    write(client, entries)
    expected = joined_by_search(entries)

    batches = examples(source(client), 7, until_ms=END_MS)

    assert len(expected) > 30
    assert rows_of(batches, list(expected[0])) == expected
    assert [batch.records.num_rows for batch in batches] == cut(expected, 7)


def examples(source: LiveSource, rows: int, **bounds: Any) -> list[SourceBatch]:
    """The batches that have rows; the others depend on when the log is read."""
    return [batch for batch in source.batches(rows, **bounds) if batch.records.num_rows]


def as_stored(batch: SourceBatch) -> dict[str, Any]:
    """An offset as it comes back from a checkpoint."""
    found: dict[str, Any] = json.loads(json.dumps(batch.offset))
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rows", [3, 20])
def test_reading_goes_on_from_every_batch_as_if_it_had_never_stopped(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, seed: int, rows: int
) -> None:
    write(client, random_log(20, seed=seed))
    whole = examples(source(client), rows, until_ms=END_MS)
    monkeypatch.setattr(module, "ENTRIES", 2 + 7 * seed)  # however much is read at once

    for number, batch in enumerate(whole):
        rest = examples(source(client), rows, until_ms=END_MS, resume_from=as_stored(batch))
        assert list(rest) == whole[number + 1 :]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_trimmed_is_needed_from_no_batch_on(client: redis.Redis, seed: int) -> None:
    entries = random_log(40, seed=seed, pause_ms=600_000)  # much longer than impressions are remembered
    write(client, entries)
    log = RedisEventLog(client)
    until_ms = entries[-1].id.ms + 1_000_000
    whole = examples(source(client), 5, until_ms=until_ms)
    dropped = 0

    for number, batch in enumerate(whole):
        log.reached("trainer", source(client).needed(as_stored(batch)))
        dropped += log.trim()
        rest = examples(source(client), 5, until_ms=until_ms, resume_from=as_stored(batch))
        assert rest == whole[number + 1 :]
    assert dropped > len(entries) / 3


class Growing:
    """A log that grows whenever its reader asks whether to stop.

    Args:
        client: Of an empty Redis.
        entries: What is written, some at a time.
        seed: Of how many at a time.
    """

    def __init__(self, client: redis.Redis, entries: list[Any], seed: int) -> None:
        self.client, self.left, self.draw = client, list(entries), random.Random(seed)
        self.now_ms = entries[0].id.ms
        write(client, [])

    def stop(self) -> bool:
        pieces = self.draw.randrange(4)
        write(self.client, self.left[:pieces])
        del self.left[:pieces]
        after_ms = self.left[0].id.ms if self.left else END_MS + 100_000
        self.now_ms = self.draw.randint(self.now_ms, after_ms)
        return False


@pytest.mark.parametrize("seed", range(8))
def test_batches_do_not_depend_on_when_the_log_is_read(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    entries = random_log(30, seed=seed)
    write(client, entries)
    whole = examples(source(client), 6, until_ms=END_MS)
    client.flushall()

    growing = Growing(client, entries, seed)
    monkeypatch.setattr(RedisEventLog, "now_ms", lambda _: growing.now_ms)

    assert examples(source(client, stop=growing.stop), 6, until_ms=END_MS) == whole


def test_rows_of_one_time_stay_together_if_that_is_wanted(client: redis.Redis) -> None:
    entries = random_log(60, seed=3, pause_ms=100)
    write(client, entries)

    batches = examples(source(client, whole_times=True), 10, until_ms=END_MS)

    times = [batch.records.column("time_ms").to_pylist() for batch in batches]
    assert sum(map(len, times)) == len(joined_by_search(entries))
    assert max(map(len, times)) > 10
    assert all(one[-1] < other[0] for one, other in itertools.pairwise(times))
    for number, batch in enumerate(batches):
        rest = examples(source(client, whole_times=True), 10, until_ms=END_MS, resume_from=as_stored(batch))
        assert list(rest) == batches[number + 1 :]


def test_bounds_choose_the_rows(client: redis.Redis) -> None:
    entries = random_log(30, seed=1)
    write(client, entries)
    expected = joined_by_search(entries)
    since_ms, until_ms = expected[20]["time_ms"], expected[-10]["time_ms"]

    batches = examples(source(client), 7, since_ms=since_ms, until_ms=until_ms)

    assert rows_of(batches, list(expected[0])) == [
        row for row in expected if since_ms <= row["time_ms"] < until_ms
    ]
    rest = examples(
        source(client), 7, since_ms=since_ms, until_ms=until_ms, resume_from=as_stored(batches[0])
    )
    assert list(rest) == batches[1:]
    with pytest.raises(
        SourceError, match=f"expected to go on reading from time_ms {since_ms} on, found None"
    ):
        next(source(client).batches(7, resume_from=as_stored(batches[0])))


def test_it_stops_when_it_is_told_to(client: redis.Redis) -> None:
    write(client, random_log(5, seed=1))

    assert examples(source(client, stop=lambda: True), 7) == []


def test_what_is_set_aside_is_counted_by_one_reader(client: redis.Redis) -> None:
    write(client, random_log(30, seed=1))
    examples(source(client, counts_rejected=False), 7, until_ms=END_MS)
    assert rejected_counts(client) == {}

    examples(source(client), 7, until_ms=END_MS)

    assert rejected_counts(client).keys() >= {"unknown request", "too late", "unknown video", "repeated"}


def test_a_damaged_entry_is_left_out_and_said(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    entries = random_log(30, seed=1)
    write(client, entries)
    damaged = RedisEventLog(client).append(Kind.FEEDBACK, b"junk")

    batches = examples(source(client), 7, until_ms=END_MS)

    assert sum(batch.records.num_rows for batch in batches) == len(joined_by_search(entries))
    assert f"entry {damaged} of the log of events: expected events" in caplog.text


def test_entries_that_were_dropped_are_missed(client: redis.Redis) -> None:
    entries = random_log(40, seed=1, pause_ms=600_000)
    write(client, entries)
    first = next(source(client).batches(7))
    RedisEventLog(client).drop_before(entries[-1].id)

    with pytest.raises(EventLogError, match=r"expected the entries after .* were dropped"):
        examples(source(client), 7, resume_from=as_stored(first))


def test_rows_of_which_the_texts_are_lost_are_learned_without_them(
    client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    entries = random_log(30, seed=1)
    write(client, entries)
    client.delete(*client.keys("watchnext:texts:*"))

    batches = examples(source(client), 7, until_ms=END_MS)

    assert sum(batch.records.num_rows for batch in batches) == len(joined_by_search(entries))
    assert "values of impressions count as missing" in caplog.text


@pytest.mark.parametrize("join", [{"oldest": [1, 1], "rows": "x"}, {"oldest": "1-1"}, {"older": 1}, None])
def test_what_is_no_offset_is_refused(client: redis.Redis, join: Any) -> None:
    offset = {"join": join, "reached_ms": 0}

    with pytest.raises(SourceError, match="log of events: expected an offset in this kind of log"):
        next(source(client).batches(7, resume_from=offset))


def test_an_offset_of_the_beginning_needs_everything(client: redis.Redis) -> None:
    assert source(client).needed(None) == BEGINNING
    assert source(client).reached_ms(None) is None


def test_its_schema_fits_the_spec_and_it_describes_no_viewers(client: redis.Redis) -> None:
    LIVE_SPEC.check_schema(source(client).schema, where="the events")
    assert list(source(client).users()) == list(source(client).videos()) == []


def test_redis_may_go_away_and_come_back(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    entries = random_log(30, seed=1)
    with (
        redis_process(tmp_path_factory.mktemp("r")) as server,
        closing(connect_later(server.url, timeout_s=10)) as client,
    ):
        write(client, entries)
        asked = 0

        def stop() -> bool:
            nonlocal asked
            asked += 1
            if asked == 3:
                server.kill()
            if asked == 8:
                server.start()
            return False

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "ENTRIES", 20)
            batches = examples(source(client, stop=stop), 7, until_ms=END_MS)

    expected = joined_by_search(entries)
    assert rows_of(batches, list(expected[0])) == expected
    said = [record.message for record in caplog.records if record.name == module.__name__]
    assert len(said) == 2
    assert "; waiting for it" in said[0]
    assert said[1] == "log of events: Redis answers again"
