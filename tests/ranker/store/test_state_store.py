"""The stored feature state: whole or refused, replaced in one step."""

import threading
from typing import Any

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ranker.errors import DamagedStateError, StoreError
from ranker.store import state_store as module
from ranker.store.keys import state_key
from ranker.store.state_store import GRACE_S, UNFINISHED_S, StatePointer, StateStore

ARRAYS = {
    "rates/keys": np.arange(40, dtype=np.int64),
    "rates/known": np.linspace(0, 1, 120, dtype=np.float32).reshape(40, 3),
    "pending/times": np.empty(0, np.int64),
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state of a kilobyte has several parts."""
    monkeypatch.setattr(module, "PART_BYTES", 300)


def test_what_is_read_is_what_was_written(client: redis.Redis) -> None:
    store = StateStore(client, "d1")
    written = store.write(ARRAYS, 1_700)
    newest = store.newest()
    assert newest == written
    assert (written.watermark_ms, written.parts) == (1_700, -(-written.size // 300))
    assert written.parts > 2
    found = store.read(written)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_before_anything_is_written_there_is_nothing(client: redis.Redis) -> None:
    StateStore(client, "other").write(ARRAYS, 1)
    assert StateStore(client, "d1").newest() is None


def test_a_newer_state_replaces_the_one_before_which_stays_for_those_who_read_it(client: redis.Redis) -> None:
    store = StateStore(client, "d1")
    first, second = store.write(ARRAYS, 1), store.write({"a": np.ones(3)}, 2)
    assert store.newest() == second
    np.testing.assert_array_equal(store.read(first)["rates/keys"], ARRAYS["rates/keys"])
    np.testing.assert_array_equal(store.read(second)["a"], np.ones(3))
    assert all(0 < lives_s(client, key) <= GRACE_S for key in first.part_keys)
    assert all(lives_s(client, key) == -1 for key in second.part_keys)


def lives_s(client: redis.Redis, key: str) -> int:
    """Seconds until Redis forgets a key, -1 for never."""
    seconds: Any = client.ttl(key)
    return int(seconds)


def test_a_writer_that_ends_halfway_leaves_the_newest_as_it_was(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(client, "d1")
    first = store.write(ARRAYS, 1)
    count = client.dbsize()
    with monkeypatch.context() as patch:

        def fail(*_: Any, **__: Any) -> None:
            raise redis.ConnectionError("gone")

        patch.setattr(client, "transaction", fail)
        with pytest.raises(StoreError, match="found gone; it may have done so or not"):
            store.write(ARRAYS, 2)
    assert store.newest() == first
    assert client.dbsize() > count  # parts that nobody points to ...
    orphans = {key.decode() for key in client.scan_iter()} - {state_key("d1"), *first.part_keys}
    assert all(0 < lives_s(client, key) <= UNFINISHED_S for key in orphans)  # ... and that Redis will forget


def test_of_writers_at_the_same_time_one_is_the_last(client: redis.Redis) -> None:
    states = [{"a": np.full(200, number)} for number in range(8)]
    threads = [
        threading.Thread(target=StateStore(client, "d1").write, args=(state, number))
        for number, state in enumerate(states)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = StateStore(client, "d1")
    newest = store.newest()
    assert newest is not None
    np.testing.assert_array_equal(store.read(newest)["a"], states[newest.watermark_ms]["a"])
    others = {key.decode() for key in client.scan_iter()} - {state_key("d1"), *newest.part_keys}
    assert len(others) == 7 * newest.parts
    assert all(0 < lives_s(client, key) <= GRACE_S for key in others)


@pytest.mark.parametrize("part", [0, 1, -1])
def test_a_changed_part_is_refused(client: redis.Redis, part: int) -> None:
    store = StateStore(client, "d1")
    pointer = store.write(ARRAYS, 1)
    client.setrange(pointer.part_keys[part], 7, b"!")
    with pytest.raises(DamagedStateError, match=r"expected .* bytes with sha256 .*: the state was changed"):
        store.read(pointer)


@pytest.mark.parametrize("part", [0, 1, -1])
def test_a_state_without_all_of_its_parts_is_refused(client: redis.Redis, part: int) -> None:
    store = StateStore(client, "d1")
    pointer = store.write(ARRAYS, 1)
    client.delete(pointer.part_keys[part])
    with pytest.raises(DamagedStateError, match=f"{pointer.part_keys[part]}: expected a part of"):
        store.read(pointer)


@pytest.mark.parametrize("content", [b"", b"{}", b"no JSON", b"[1]", b'{"version": "v"}', b"\xff\x00"])
def test_what_is_no_pointer_is_refused(client: redis.Redis, content: bytes) -> None:
    client.set(state_key("d1"), content)
    with pytest.raises(DamagedStateError, match=f"{state_key('d1')}: expected a feature state's description"):
        StateStore(client, "d1").newest()


def test_a_state_of_another_kind_is_refused(client: redis.Redis) -> None:
    StateStore(client, "other").write(ARRAYS, 1)
    client.rename(state_key("other"), state_key("d1"))
    with pytest.raises(DamagedStateError, match="expected a feature state d1 of format 1, found other of"):
        StateStore(client, "d1").newest()


def test_a_state_of_a_newer_format_is_refused(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    pointer = StateStore(client, "d1").write(ARRAYS, 1)
    client.set(state_key("d1"), pointer.model_copy(update={"format_version": 2}).model_dump_json())
    with pytest.raises(DamagedStateError, match="of format 1, found d1 of format 2"):
        StateStore(client, "d1").newest()


def test_a_damaged_pointer_is_replaced_by_the_next_state(client: redis.Redis) -> None:
    client.set(state_key("d1"), b"no JSON")
    store = StateStore(client, "d1")
    assert store.write(ARRAYS, 3) == store.newest()


def test_without_redis_that_is_said() -> None:
    store = StateStore(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)), "d1")
    with pytest.raises(StoreError, match="expected Redis to answer") as caught:
        store.newest()
    assert not isinstance(caught.value, DamagedStateError)
    with pytest.raises(StoreError, match="expected Redis to take the feature state"):
        store.write(ARRAYS, 1)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_part_that_redis_dropped_is_missed(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = StateStore(client, "d1")
    first = store.write(ARRAYS, 1)
    replace = store._replace

    def dropping(steps: redis.client.Pipeline, pointer: StatePointer) -> None:
        replace(steps, pointer)
        steps.delete(pointer.part_keys[1])

    if moment == "after":
        monkeypatch.setattr(store, "_replace", dropping)
    else:
        monkeypatch.setattr(module, "_parts", lambda content: iter([b"", *[b"x"] * 9][: first.parts]))
    with pytest.raises(StoreError, match=rf"expected Redis to hold the {first.size:,} bytes .* found \d+"):
        store.write(ARRAYS, 2)
    if moment == "before":
        assert store.newest() == first


def test_nobody_claims_to_know_whether_a_state_was_stored_that_was_not_acknowledged(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StateStore(client, "d1")
    transaction = client.transaction

    def silent(*arguments: Any) -> None:
        transaction(*arguments)
        raise redis.TimeoutError("Timeout reading from socket")

    monkeypatch.setattr(client, "transaction", silent)
    with pytest.raises(StoreError, match=rf"{state_key('d1')}: .* found Timeout .*; it may have done so"):
        store.write(ARRAYS, 2)
    newest = store.newest()
    assert newest is not None
    assert newest.watermark_ms == 2
