"""`watchnext events`: what it shows of a log, and what it changes."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import redis

from ranker.spec_file import dump_spec
from ranker.stream.event_log import EntryId, Kind
from ranker.stream.feedback import Reason
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import queue_rejected
from tests.ranker.stream.made_events import event
from tests.training.live_log import LIVE_SPEC, joined_by_search, random_log, write
from tests.training.small_commands import Answer, Command
from training.event_status import RECENT_ENTRIES, entries_per_minute, event_status


@pytest.fixture
def events(command: Command, client: redis.Redis) -> Command:
    """Run `watchnext events ARGUMENTS` with an empty Redis."""
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"

    def run(*arguments: str) -> Answer:
        return command("events", *arguments, "--redis-url", url)

    return run


def test_an_empty_log_is_shown_as_one(events: Command) -> None:
    answer = events("--json")

    assert answer.status == 0
    assert json.loads(answer.out) == {
        "entries": 0,
        "first": None,
        "first_age_s": None,
        "last": None,
        "last_age_s": None,
        "bytes": 0,
        "entries_per_minute": 0.0,
        "readers": [],
        "rejected": {},
    }
    assert events().out == events("status").out
    assert "none" in events().out


def test_readers_and_what_was_set_aside_are_shown(events: Command, client: redis.Redis) -> None:
    log = RedisEventLog(client)
    ids = [log.append(Kind.FEEDBACK, b"[]") for _ in range(5)]
    log.reached("trainer", ids[2], done_ms=ids[4].ms - 2_500)
    log.reached("archive", ids[0])
    with client.pipeline() as pipeline:
        queue_rejected(
            pipeline, [(Reason.TOO_LATE, event("e1", "r1", "17")), (Reason.REPEATED, event("e2", "r1", "17"))]
        )
        pipeline.execute()

    found = json.loads(events("--json").out)

    assert (found["entries"], found["first"], found["last"]) == (5, str(ids[0]), str(ids[4]))
    assert found["entries_per_minute"] == 5
    assert found["bytes"] > 100
    assert found["rejected"] == {"repeated": 1, "too late": 1}
    archive, trainer = found["readers"]
    assert (trainer["name"], trainer["needs_from"], trainer["lag_s"]) == ("trainer", str(ids[2]), 2.5)
    assert (archive["name"], archive["lag_s"], archive["lost"]) == ("archive", None, False)
    shown = events().out
    assert "trainer" in shown
    assert "set aside: too late" in shown


def test_a_reader_that_lost_entries_is_shown(client: redis.Redis) -> None:
    log = RedisEventLog(client)
    ids = [log.append(Kind.FEEDBACK, b"[]") for _ in range(5)]
    log.reached("slow", ids[0])
    log.drop_before(EntryId(ids[4].ms + 1, 0))

    (reader,) = event_status(client).readers

    assert reader.lost
    assert reader.needs_age_s is None


@pytest.mark.parametrize(
    ("ages_ms", "expected"),
    [
        ([], 0),
        ([10, 59_999, 60_000], 2),
        ([10 * age for age in range(RECENT_ENTRIES)], RECENT_ENTRIES * 60_000 / (10 * (RECENT_ENTRIES - 1))),
    ],
)
def test_entries_of_a_minute_are_counted_or_told_from_the_newest(ages_ms: list[int], expected: float) -> None:
    newest = [EntryId(10**6 - age, 0) for age in ages_ms]

    assert entries_per_minute(newest, 10**6) == pytest.approx(expected)


def test_the_latest_that_were_set_aside_are_listed(events: Command, client: redis.Redis) -> None:
    with client.pipeline() as pipeline:
        queue_rejected(
            pipeline, [(Reason.TOO_LATE, event(f"e{n}", "r1", "17", time_ms=10**12)) for n in range(5)]
        )
        pipeline.execute()

    found = json.loads(events("rejected", "--last", "2", "--json").out)

    assert [one["event_id"] for one in found] == ["e4", "e3"]
    assert found[0] | {"reason": "too late", "kind": "click", "value": 1, "time_ms": 10**12} == found[0]
    assert "T01:46:40Z" in events("rejected").out


def test_a_reader_that_will_not_come_back_is_forgotten(events: Command, client: redis.Redis) -> None:
    log = RedisEventLog(client)
    log.reached("gone", log.append(Kind.FEEDBACK, b"[]"), done_ms=5)

    assert events("forget", "gone").status == 0

    assert (log.readers(), log.done()) == ({}, {})
    again = events("forget", "gone")
    assert again.status == 2
    assert "expected a reader of the log of events (none), found 'gone'" in again.err


def test_a_log_is_archived_until_a_signal_comes(events: Command, client: redis.Redis) -> None:
    entries = random_log(40, seed=1)
    write(client, entries)
    Path("spec.yaml").write_text(dump_spec(LIVE_SPEC))

    def end() -> None:
        while not list(Path("archive").rglob("*.parquet")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    ending = threading.Thread(target=end)
    ending.start()
    answer = events("archive", "--out", "archive", "--spec", "spec.yaml", "--wait", "5s", "--json")
    ending.join()

    assert answer.status == 0
    assert json.loads(answer.out) == {"files": 1, "rows": len(joined_by_search(entries))}


def test_following_refuses_an_end(command: Command) -> None:
    for option, value in (("--until", "2026-01-01T00:00Z"), ("--late-by", "1h")):
        answer = command("train", "--follow", "--registry", "r", option, value)
        assert answer.status == 2
        assert f"{option}: expected none with --follow" in answer.err
    answer = command("train", "--follow", "--registry", "r", "--publish-every", "0s")
    assert "--publish-every: expected more than 0, found '0s'" in answer.err
