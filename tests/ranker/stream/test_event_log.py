import pytest
import redis

from ranker.errors import EventLogError, StoreError
from ranker.store.keys import events_key
from ranker.stream.event_log import BEGINNING, LAST_NUMBER, Entry, EntryId, Kind
from ranker.stream.redis_event_log import RedisEventLog


@pytest.fixture
def log(client: redis.Redis) -> RedisEventLog:
    return RedisEventLog(client)


def test_entries_are_read_in_the_order_in_which_they_arrived(log: RedisEventLog) -> None:
    ids = [
        log.append(Kind.IMPRESSION if number % 2 else Kind.FEEDBACK, b"%d" % number) for number in range(5)
    ]

    found = log.read(BEGINNING, count=3)
    rest = log.read(found[-1].id, count=10)

    assert [entry.id for entry in found + rest] == ids == sorted(ids)
    assert [entry.data for entry in found + rest] == [b"0", b"1", b"2", b"3", b"4"]
    assert found[1].kind is Kind.IMPRESSION
    assert log.read(ids[-1], count=1) == []
    assert log.read(ids[-1], count=1, wait_s=0.01) == []


def test_no_later_entry_has_an_earlier_time_than_the_clock(log: RedisEventLog) -> None:
    now_ms = log.now_ms()

    assert log.append(Kind.FEEDBACK, b"").ms >= now_ms


def test_trimming_keeps_what_the_slowest_reader_needs(log: RedisEventLog) -> None:
    ids = [log.append(Kind.FEEDBACK, b"") for _ in range(6)]
    assert log.trim() == 0
    log.reached("fast", ids[5])
    log.reached("slow", ids[2])

    assert log.trim() == 2

    assert log.extent().first == ids[2]
    assert log.extent().entries == 4
    assert log.readers() == {"fast": ids[5], "slow": ids[2]}
    assert [entry.id for entry in log.read(ids[2].previous(), count=9)] == ids[2:]


def test_a_reader_that_lost_entries_is_told(log: RedisEventLog) -> None:
    ids = [log.append(Kind.FEEDBACK, b"") for _ in range(6)]
    log.drop_before(ids[3])

    with pytest.raises(
        EventLogError, match=f"expected the entries after {ids[0]}, found that those up to {ids[2]}"
    ):
        log.read(ids[0], count=9)
    assert [entry.id for entry in log.read(ids[2], count=9)] == ids[3:]
    assert log.drop_before(ids[3]) == 0


def test_a_reader_that_lost_nothing_goes_on_from_the_last_id_of_a_millisecond(log: RedisEventLog) -> None:
    last = log.append(Kind.FEEDBACK, b"")
    log.drop_before(EntryId(last.ms, 0))

    assert [entry.id for entry in log.read(EntryId(last.ms - 1, LAST_NUMBER), count=9)] == [last]


def test_a_reader_at_the_beginning_keeps_everything(log: RedisEventLog) -> None:
    log.append(Kind.FEEDBACK, b"")
    log.reached("new", BEGINNING)

    assert log.trim() == 0
    assert log.extent().entries == 1


def test_the_extent_of_a_log_without_entries(log: RedisEventLog) -> None:
    assert log.extent().entries == 0
    assert log.extent().last is None


@pytest.mark.parametrize("fields", [{"k": "x", "d": ""}, {"d": ""}, {"k": "i"}])
def test_a_foreign_entry_stops_nobody(
    log: RedisEventLog, client: redis.Redis, fields: dict[str, str]
) -> None:
    client.xadd(events_key(), fields, id="7-1")

    assert log.read(BEGINNING, count=1) == [Entry(EntryId(7, 1), Kind.UNKNOWN, b"")]


def test_a_log_that_does_not_answer_is_a_store_error() -> None:
    log = RedisEventLog(redis.Redis(port=1))

    with pytest.raises(StoreError, match="watchnext:events: expected Redis"):
        log.extent()


@pytest.mark.parametrize("text", ["", "5", "a-1", "5-", "-5", b"\xff-1"])
def test_what_is_no_id_is_refused(text: str | bytes) -> None:
    with pytest.raises(EventLogError, match="expected the id of an entry"):
        EntryId.of(text)
