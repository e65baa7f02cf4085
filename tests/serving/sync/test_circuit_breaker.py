"""A Redis that is away, and one that answers late."""

import asyncio
import logging
import socket
import threading
from contextlib import suppress

import pytest

from ranker.errors import StoreError
from serving.http.metrics import Metrics
from serving.sync import circuit_breaker as module
from tests.serving.metric_value import metric_value
from tests.serving.small_ranker import store_rows
from tests.serving.sync.used_store import USERS, VIDEOS, run, store_at
from tests.serving.waiting import join, until


async def until_it_answers(store):
    """Wait until the store has found out that Redis is back."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.ping()
            except StoreError:
                await asyncio.sleep(0.01)


def test_while_redis_is_away_nobody_waits_for_it_and_then_all_is_normal(server, client, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    metrics = Metrics(frozenset())

    async def use(store):
        await store.ping()
        server.stop()
        with pytest.raises(StoreError, match="found TimeoutError"):
            await store.read(USERS, "u", VIDEOS, ["v"])
        for call in (
            lambda: store.read(USERS, "u", VIDEOS, ["v"]),
            lambda: store.read_videos(VIDEOS, ["v"]),
            lambda: store.write_user(USERS, "u", USERS.of_rows([{}])),
            lambda: store.write_video(VIDEOS, "v", VIDEOS.of_rows([{}])),
            store.ping,
        ):
            with pytest.raises(StoreError, match="found that it is away"):
                await call()
        await asyncio.sleep(0.3)
        with pytest.raises(StoreError, match="found that it is away"):
            await store.ping()
        server.go_on()
        await until_it_answers(store)

    run(server, use, timeout_s=0.1, metrics=metrics)
    assert caplog.text.count("Redis is away") == 1
    assert "Redis answers again" in caplog.text
    assert metric_value(metrics, "watchnext_feature_store_errors_total") == 1
    assert metric_value(metrics, 'watchnext_degraded_seconds_total{reason="feature_store"}') > 0.2


def test_after_an_absence_no_connection_of_before_is_used(server, client, monkeypatch):
    """They may be dead, which shows only when one is used."""
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    mine = client.client_id()

    def connected():
        return {int(each["id"]) for each in client.client_list()} - {mine}

    async def use(store):
        def read_at_once():
            return asyncio.gather(*(store.read(USERS, "u", VIDEOS, ["v"]) for _ in range(5)))

        await until(lambda: not connected())  # of other tests
        await read_at_once()
        before = connected()
        assert len(before) == 5
        server.stop()
        with pytest.raises(StoreError, match="found TimeoutError"):
            await store.ping()
        server.go_on()
        await until_it_answers(store)
        await read_at_once()
        await until(lambda: not connected() & before)

    run(server, use, timeout_s=0.1)


def test_a_server_that_reads_its_data_is_away():
    """Redis says so to every command until it has read the file that it keeps."""

    def loading(listener):
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):  # the client may close while an answer is on its way
            while connection.recv(4096):
                connection.sendall(b"-LOADING Redis is loading the dataset in memory\r\n" * 3)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=loading, args=(listener,))
        thread.start()

        async def main():
            async with store_at(f"redis://127.0.0.1:{listener.getsockname()[1]}") as store:
                with pytest.raises(StoreError, match="BusyLoadingError"):
                    await store.read(USERS, "u", VIDEOS, ["v"])
                with pytest.raises(StoreError, match="found that it is away"):
                    await store.ping()

        asyncio.run(main())
        join(thread)


def test_nobody_there_is_an_error_of_the_store():
    async def main():
        async with store_at("redis://127.0.0.1:1") as store:
            with pytest.raises(StoreError, match="ConnectionError"):
                await store.ping()

    asyncio.run(main())


def test_a_read_waits_no_longer_than_it_may_and_redis_is_not_taken_for_away(server, client):
    store_rows(client, users=[{"user_id": "u"}])

    async def use(store):
        await store.ping()
        server.stop()
        try:
            with pytest.raises(StoreError, match="expected Redis to answer within 10 ms"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
        finally:
            server.go_on()
        await until(lambda: not store.breaker._left)
        assert (await store.read(USERS, "u", VIDEOS, [], within_s=10))[0] is not None

    run(server, use, timeout_s=30.0)


def test_reads_that_nobody_waits_for_find_out_that_redis_is_away(server, client, monkeypatch):
    monkeypatch.setattr(module, "PROBE_S", 0.01)
    metrics = Metrics(frozenset())

    async def use(store):
        await store.ping()
        assert metric_value(metrics, "watchnext_feature_store_answers") == 1
        server.stop()
        try:
            with pytest.raises(StoreError, match="within 10 ms"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
            await until(lambda: not store.breaker._left)
            with pytest.raises(StoreError, match="found that it is away"):
                await store.read(USERS, "u", VIDEOS, [], within_s=0.01)
            assert metric_value(metrics, "watchnext_feature_store_answers") == 0
        finally:
            server.go_on()
        await until_it_answers(store)
        assert metric_value(metrics, "watchnext_feature_store_answers") == 1

    run(server, use, timeout_s=0.1, metrics=metrics)


def test_redis_does_not_owe_ever_more_answers(server, client, monkeypatch):
    monkeypatch.setattr(module, "MAX_LEFT_CALLS", 3)

    async def use(store):
        await store.ping()
        server.stop()
        try:
            reads = [store.read(USERS, "u", VIDEOS, [], within_s=0.01) for _ in range(5)]
            errors = await asyncio.gather(*reads, return_exceptions=True)
            assert sum("owes 3 answers" in str(error) for error in errors) == 2
            assert len(store.breaker._left) == 3
        finally:
            server.go_on()

    run(server, use, timeout_s=30.0)
