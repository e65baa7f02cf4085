"""Refreshing the feature state: what the store has afterwards, and which rows were taken."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import StoreError, UserError
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.labels.matrix import label_matrix
from ranker.store.keys import deleted_users_key, deleted_videos_key
from ranker.store.state_store import DamagedStateError, StateStore
from tests.serving.small_ranker import publish_small_ranker
from tests.serving.state_ranker import FIRST_MS, STATE_SPEC, log_of, publish_state_ranker
from tests.training.record_source import RecordSource
from training import refresh_state as module
from training.refresh_state import Refreshed, refresh_state

LOG = log_of(900)
TIMES = LOG.column("time_ms").to_numpy()
LEARNED = 400
"""Rows that the bundle has learned from."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    publish_state_ranker(folder, LOG.slice(0, LEARNED))
    return Registry(str(folder))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 70)


def refresh(client: redis.Redis, registry: Registry, **options: Any) -> Refreshed:
    source = RecordSource(LOG)
    return refresh_state(client, registry.read(), source, Console(file=io.StringIO()), **options)


def check_stored(client: redis.Redis, rows: int) -> None:
    """The store has the state of one pass over the log's first rows."""
    encoder = Encoder(STATE_SPEC)
    seen = LOG.slice(0, rows)
    encoder.replay(seen, label_matrix(seen, STATE_SPEC.feedback))
    store = StateStore(client, encoder.feature_state.digest)
    newest = store.newest()
    assert newest is not None
    assert newest.watermark_ms == TIMES[rows - 1]
    found, expected = store.read(newest), encoder.feature_state.state()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_store_has_what_one_pass_over_the_whole_log_would_know(
    client: redis.Redis, registry: Registry
) -> None:
    refreshed = refresh(client, registry)
    assert (refreshed.rows, refreshed.watermark_ms) == (len(TIMES) - LEARNED, TIMES[-1])
    assert refreshed.keys > 40
    assert refreshed.size > 10_000
    check_stored(client, len(TIMES))


def test_it_goes_on_from_the_stores_state_and_takes_no_row_twice(
    client: redis.Redis, registry: Registry
) -> None:
    first = refresh(client, registry, until_ms=int(TIMES[600]))
    middle = int(np.searchsorted(TIMES, TIMES[600]))
    assert first.rows == middle - LEARNED
    check_stored(client, middle)
    # what was taken already is left out, even if it is asked for
    assert refresh(client, registry, since_ms=FIRST_MS).rows == len(TIMES) - middle
    check_stored(client, len(TIMES))


def test_without_newer_rows_the_store_stays_as_it_is(client: redis.Redis, registry: Registry) -> None:
    nothing = refresh(client, registry, until_ms=int(TIMES[LEARNED - 1]))
    assert (nothing.rows, nothing.size, nothing.watermark_ms) == (0, 0, TIMES[LEARNED - 1])
    assert client.dbsize() == 0
    refresh(client, registry)
    store = StateStore(client, Encoder(STATE_SPEC).feature_state.digest)
    before = store.newest()
    assert refresh(client, registry).rows == 0
    assert store.newest() == before


def test_a_restart_begins_with_the_bundles_state(client: redis.Redis, registry: Registry) -> None:
    refresh(client, registry)
    until_ms = int(TIMES[600])
    middle = int(np.searchsorted(TIMES, until_ms))
    assert refresh(client, registry, restart=True, until_ms=until_ms).rows == middle - LEARNED
    check_stored(client, middle)


def test_an_older_state_in_the_store_is_left_behind(
    client: redis.Redis, registry: Registry, tmp_path: Path
) -> None:
    refresh(client, registry, until_ms=int(TIMES[600]))
    publish_state_ranker(tmp_path, LOG.slice(0, 700))
    assert refresh(client, Registry(str(tmp_path))).rows == len(TIMES) - 700
    check_stored(client, len(TIMES))


def test_a_damaged_state_is_not_gone_on_from(client: redis.Redis, registry: Registry) -> None:
    refresh(client, registry, until_ms=int(TIMES[600]))
    store = StateStore(client, Encoder(STATE_SPEC).feature_state.digest)
    newest = store.newest()
    assert newest is not None
    client.setrange(newest.part_keys[0], newest.size // 2, b"!!!!")
    with pytest.raises(DamagedStateError, match="the state was changed; --restart begins with the bundle's"):
        refresh(client, registry)
    assert store.newest() == newest
    refresh(client, registry, restart=True)
    check_stored(client, len(TIMES))


def test_a_bundle_without_such_features_is_refused(client: redis.Redis, tmp_path: Path) -> None:
    publish_small_ranker(tmp_path)
    with pytest.raises(UserError, match="found none: there is no state to refresh"):
        refresh(client, Registry(str(tmp_path)))


def test_without_redis_that_is_said(registry: Registry) -> None:
    with pytest.raises(StoreError, match="expected Redis to answer"):
        refresh(redis.Redis(port=1, retry=Retry(NoBackoff(), 0)), registry)


def test_a_state_that_is_stored_has_forgotten_whom_the_store_was_told_to_delete(
    client: redis.Redis, registry: Registry
) -> None:
    """Deleted after the state's beginning, whether before or after the rows that are taken up."""
    client.zadd(deleted_users_key(), {"u1": time.time_ns() // 1_000_000})
    client.zadd(deleted_videos_key(), {"v3": time.time_ns() // 1_000_000})
    refresh(client, registry)
    forgotten, expected = Encoder(STATE_SPEC), Encoder(STATE_SPEC)
    store = StateStore(client, forgotten.feature_state.digest)
    newest = store.newest()
    assert newest is not None
    forgotten.feature_state.load(store.read(newest))
    expected.replay(LOG, label_matrix(LOG, STATE_SPEC.feedback))

    def known(encoder: Encoder, group: Group, column: str, *names: str) -> list[Any]:
        layout = encoder.records[group]
        words = layout.of_rows([{column: name} for name in names])
        times = np.full(len(names), TIMES[-1] + 3_600_000)
        said: list[Any] = encoder.feature_state.look_up(group, words, layout, times).numbers.tolist()
        return said

    for group, *names in (
        (Group.REQUEST, "user_id", "u1", "u2", "nobody"),
        (Group.PAIR, "video_id", "v3", "v4", "nothing"),
    ):
        after, before = known(forgotten, group, *names), known(expected, group, *names)
        np.testing.assert_equal(after[0], after[2])
        np.testing.assert_equal(after[1], before[1])
        assert before[0] != before[2]


def test_a_deletion_that_a_state_was_told_of_is_not_repeated(client: redis.Redis, registry: Registry) -> None:
    client.zadd(deleted_users_key(), {"u1": int(TIMES[LEARNED - 1])})
    refresh(client, registry)
    check_stored(client, len(TIMES))
