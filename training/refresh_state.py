"""Bringing the feature state of a bundle up to date, for services between two trainings.

What viewers did lately is worth more to a ranker than weights that have learned from it, and takes a small
part of the time.
"""

from dataclasses import dataclass
from functools import partial
from time import perf_counter

import redis
from rich.console import Console

from ranker.bundles.bundle import Bundle
from ranker.errors import DamagedStateError, UserError
from ranker.events import TIME_MS
from ranker.features.forgetting import Beside
from ranker.features.state.feature_state import FeatureState
from ranker.features.stored import video_records
from ranker.labels.matrix import label_matrix
from ranker.store.deletions import read_deletions
from ranker.store.eviction import warn_of_eviction
from ranker.store.state_store import StateStore
from training.located import located
from training.progress import Progress, event_span
from training.sources.base import Source

BATCH_ROWS = 8192


@dataclass(frozen=True)
class Refreshed:
    """What was done.

    Attributes:
        rows: How many the state has gone on through.
        seconds: How long that took, with writing it.
        watermark_ms: Event time of the newest row that it has seen; None if there never was any.
        keys: How many it knows.
        size: Bytes that were written; 0 if there was no newer row, and the store is as it was.
    """

    rows: int
    seconds: float
    watermark_ms: int | None
    keys: int
    size: int


def refresh_state(
    client: redis.Redis,
    bundle: Bundle,
    source: Source,
    console: Console,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    restart: bool = False,
) -> Refreshed:
    """Let a bundle's feature state go on through the rows of a log that it has not seen, and store it.

    It begins with the store's state if that is newer than the bundle's. Rows up to its watermark are not
    taken a second time.

    Args:
        client: The store.
        bundle: Its state goes on; the bundle's files stay as they are.
        source: The log.
        console: For the progress.
        since_ms: First event time; None for the first one after the watermark.
        until_ms: First event time to leave out; None for none.
        restart: Begin with the bundle's state, whatever the store has.

    Raises:
        UserError: The bundle has no features that learn from the stream.
        SourceError: The source lacks a column, or a label is out of range.
        StoreError: Redis went away, has dropped what it took, or has a state that is damaged: then `restart`
            helps.
    """
    began = perf_counter()
    bundle.spec.check_schema(source.schema, where=source.name)
    state = bundle.encoder.feature_state
    if not state.learns:
        raise UserError(
            f"{bundle.manifest.model_version}: expected features that learn from the stream "
            "(kinds rate, history and age), found none: there is no state to refresh"
        )
    warn_of_eviction(client)
    store = StateStore(client, state.digest)
    watermark_ms = bundle.manifest.watermark_ms
    if not restart:
        watermark_ms = _taken_up(store, state, watermark_ms)
    begun_at, rows = watermark_ms, 0
    first = None if watermark_ms is None else watermark_ms + 1
    if since_ms is not None:
        first = since_ms if first is None else max(first, since_ms)
    span = partial(event_span, source, first, until_ms)
    with Progress(console, "rows", span) as progress, located(source.name, lambda: rows):
        for batch in source.records(BATCH_ROWS, since_ms=first, until_ms=until_ms):
            bundle.encoder.replay(batch, label_matrix(batch, bundle.spec.feedback))
            watermark_ms = batch.column(TIME_MS)[-1].as_py()
            rows += batch.num_rows
            progress.update(rows, watermark_ms)
    _forget_deleted(client, bundle, source, begun_at)
    size = 0
    if watermark_ms is not None and (rows or restart):
        size = store.write(state.state(), watermark_ms).size
    return Refreshed(rows, perf_counter() - began, watermark_ms, len(state), size)


def _forget_deleted(client: redis.Redis, bundle: Bundle, source: Source, since_ms: int | None) -> None:
    """Let the state forget the viewers and videos that were deleted after its beginning."""
    deleted = list(read_deletions(client, 0).after(since_ms).by_column())
    if not deleted:
        return
    layout = video_records(bundle.spec)
    videos = [b for b in source.videos() if set(layout.columns) <= set(b.schema.names)]
    for beside in [layout.missing(0), *map(layout.of_batch, videos)]:
        for column, name in deleted:
            bundle.encoder.forget(column, name, Beside(beside, layout))


def _taken_up(store: StateStore, state: FeatureState, watermark_ms: int | None) -> int | None:
    """Load the store's state if it is newer; return the newest watermark."""
    try:
        newest = store.newest()
        if newest is None or (watermark_ms is not None and newest.watermark_ms <= watermark_ms):
            return watermark_ms
        state.load(store.read(newest))
    except DamagedStateError as error:
        raise DamagedStateError(f"{error}; --restart begins with the bundle's state") from error
    return newest.watermark_ms
