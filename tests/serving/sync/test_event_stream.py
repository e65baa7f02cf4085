"""The bound of the log of events."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from ranker.errors import EventLogError, StoreAwayError
from ranker.store.connection import connect_async
from ranker.store.keys import events_key
from ranker.stream.event_log import BEGINNING, Kind
from ranker.stream.redis_event_log import RedisEventLog, entry_fields
from serving.http.metrics import Metrics
from serving.settings import AtMaxEvents
from serving.sync import event_stream as module
from serving.sync.circuit_breaker import CircuitBreaker
from serving.sync.event_stream import EventStream
from tests.serving.metric_value import metric_value
from tests.serving.waiting import until


@asynccontextmanager
async def stream_at(url, metrics, **options):
    client = connect_async(url, timeout_s=1)
    breaker = CircuitBreaker(client, 1, metrics)
    stream = EventStream(client, breaker, 1, metrics.events, **options)
    try:
        yield stream
    finally:
        await stream.close()
        await breaker.close()
        await client.aclose()


def run(server, use, **options):
    """Run `use` with a stream and its metrics."""

    async def main():
        metrics = Metrics(frozenset())
        async with stream_at(server.url, metrics, **options) as stream:
            await use(stream, metrics)

    asyncio.run(main())


async def write(stream, count=1):
    pipeline = stream.pipeline(transaction=False)
    for number in range(count):
        pipeline.xadd(events_key(), entry_fields(Kind.FEEDBACK, str(number).encode()))
    return await stream.write(pipeline, count)


def fill(client, count):
    for number in range(count):
        client.xadd(events_key(), entry_fields(Kind.FEEDBACK, str(number).encode()))


def test_at_its_bound_a_log_is_full_until_entries_are_trimmed(server, client, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "ASK_S", 0.02)

    async def use(stream, metrics):
        stream.start()
        await write(stream, 2)
        assert not stream.full
        await write(stream)
        assert stream.full
        assert metric_value(metrics, "watchnext_event_log_entries") == 3
        client.xtrim(events_key(), maxlen=1, approximate=False)
        await until(lambda: not stream.full)

    run(server, use, max_entries=3, at_max=AtMaxEvents.REFUSE)
    assert "the log of events is full: it has 3 entries" in caplog.text
    assert "the log of events has room again" in caplog.text


def test_what_others_write_counts(server, client, monkeypatch):
    monkeypatch.setattr(module, "ASK_S", 0.02)

    async def use(stream, metrics):
        stream.start()
        await until(lambda: metric_value(metrics, "watchnext_event_log_entries") == 0)
        fill(client, 3)
        await until(lambda: stream.full)

    run(server, use, max_entries=3, at_max=AtMaxEvents.REFUSE)


def test_the_length_is_asked_for_once_a_second(server, client):
    async def use(stream, metrics):
        first, *others = [await write(stream) for _ in range(3)]
        assert [len(first), *map(len, others)] == [1, 1, 1]
        assert metric_value(metrics, "watchnext_event_log_entries") == 3
        client.delete(events_key())
        await write(stream)
        assert metric_value(metrics, "watchnext_event_log_entries") == 4  # nobody has asked

    run(server, use, max_entries=10, at_max=AtMaxEvents.REFUSE)


def test_the_oldest_are_dropped_counted_and_their_readers_told(server, client, caplog):
    fill(client, 10)
    log = RedisEventLog(client)
    fourth, fifth = (entry.id for entry in log.read(BEGINNING, count=5)[-2:])

    async def use(stream, metrics):
        await write(stream)
        assert not stream.full
        await until(lambda: metric_value(metrics, "watchnext_event_log_dropped_total") == 5)

    run(server, use, max_entries=7, at_max=AtMaxEvents.DROP)
    assert client.xlen(events_key()) == 6  # one fewer than may stay, so that it is not done at every write
    assert [entry.data for entry in log.read(BEGINNING, count=100)] == [b"5", b"6", b"7", b"8", b"9", b"0"]
    assert len(log.read(fifth, count=100)) == 6
    with pytest.raises(EventLogError, match="dropped"):
        log.read(fourth, count=100)
    assert "the oldest 5 were dropped" in caplog.text


def test_a_command_that_redis_refuses_is_an_error_among_the_answers(server, client):
    client.set(events_key(), "no stream")

    async def use(stream, metrics):
        [answer] = await write(stream)
        assert isinstance(answer, Exception)

    run(server, use, max_entries=7, at_max=AtMaxEvents.REFUSE)


def test_while_redis_is_away_nothing_is_sent(server, client):
    async def use(stream, metrics):
        await write(stream)
        server.kill()
        try:
            with pytest.raises(Exception, match="expected Redis to answer"):
                await write(stream)
            assert stream.away
            with pytest.raises(StoreAwayError):
                await write(stream)
        finally:
            server.start()

    run(server, use, max_entries=7, at_max=AtMaxEvents.REFUSE)
