import pytest

from ranker.errors import EventLogError
from ranker.store.keys import events_dropped_key, events_key
from ranker.stream.bound import queue_drop_oldest
from ranker.stream.event_log import BEGINNING, EntryId, Kind
from ranker.stream.redis_event_log import RedisEventLog, entry_fields


def drop(client, max_entries):
    with client.pipeline(transaction=False) as pipeline:
        queue_drop_oldest(pipeline, max_entries)
        [dropped] = pipeline.execute()
    return dropped


def test_the_oldest_leave_and_the_newest_of_them_is_noted(client):
    log = RedisEventLog(client)
    ids = [log.append(Kind.FEEDBACK, b"%d" % number) for number in range(1_000)]
    assert drop(client, 500) == 505
    assert [entry.id for entry in log.read(BEGINNING, count=1_000)] == ids[505:]
    assert client.get(events_dropped_key()) == str(ids[504]).encode()


def test_who_has_read_all_that_left_misses_nothing(client):
    log = RedisEventLog(client)
    ids = [log.append(Kind.FEEDBACK, b"%d" % number) for number in range(3)]
    last = EntryId(ids[-1].ms + 5, 0)
    client.xadd(events_key(), entry_fields(Kind.FEEDBACK, b"3"), id=str(last))
    assert drop(client, 2) == 3
    assert [entry.id for entry in log.read(ids[-1], count=10)] == [last]
    with pytest.raises(EventLogError, match="dropped"):
        log.read(ids[-2], count=10)


def test_a_log_within_its_bound_stays_as_it_is(client):
    log = RedisEventLog(client)
    log.append(Kind.FEEDBACK, b"1")
    assert drop(client, 500) == 0
    assert client.xlen(events_key()) == 1
    assert not client.exists(events_dropped_key())


def test_a_log_that_is_not_there_is_not_made(client):
    assert drop(client, 1) == 0
    assert client.keys("*") == []


def test_the_newest_entry_always_stays(client):
    log = RedisEventLog(client)
    _, last = log.append(Kind.FEEDBACK, b"1"), log.append(Kind.FEEDBACK, b"2")
    assert drop(client, 1) == 1
    assert [entry.id for entry in log.read(BEGINNING, count=10)] == [last]
