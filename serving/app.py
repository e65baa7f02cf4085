"""The service as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import torch
from fastapi import FastAPI

from ranker.bundles.registry import Registry
from ranker.store.connection import connect_async, connect_later
from ranker.stream.redis_event_log import RedisEventLog
from serving.feedback import FeedbackService
from serving.http import middleware
from serving.http.event_metrics import EventMetrics
from serving.impressions import ImpressionLog
from serving.model.worker import ModelWorker
from serving.ranking import RankingService
from serving.routes import router
from serving.settings import ImpressionMode, Seen, ServingSettings
from serving.sync.catalogue_follower import BLOCK_MS
from serving.sync.deletions_follower import DeletionsFollower
from serving.sync.event_follower import EventFollower
from serving.sync.event_stream import EventStream
from serving.sync.feature_store import FeatureStore
from serving.sync.hot_swap import HotSwap
from serving.sync.impression_writer import ImpressionWriter
from serving.sync.reporter import Reporter
from serving.sync.state_follower import READ_TIMEOUT_S, StateFollower, StateKeeper


def create_app(settings: ServingSettings) -> FastAPI:
    """Read the registry's current bundle and make the service around it.

    Args:
        settings: Where the bundle and the features are, and the limits.

    Raises:
        RegistryError: There is no bundle.
        BundleError: It does not verify.
        StoreError: The Redis URL is none. A server that does not answer is no error: see `degraded` in
            `RankResponse`.
    """
    torch.set_num_threads(settings.model_threads)
    client = connect_async(settings.redis_url, timeout_s=settings.redis_timeout_s)
    listening = connect_async(settings.redis_url, timeout_s=settings.redis_timeout_s, block_s=BLOCK_MS / 1000)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        app.state.keys.start()
        await models.start()
        stream.start()
        reporter.start()
        yield
        await reporter.stop()
        await asyncio.to_thread(app.state.keys.close)
        if impressions is not None:
            await impressions.close()
        await stream.close()
        await models.stop()
        await asyncio.to_thread(worker.close)
        await states.close()
        bulk.close()
        await store.close()
        await listening.aclose()

    app = FastAPI(
        title="watchnext",
        description="Ranks candidate videos for one viewer by several predicted goals at once.",
        version=version("watchnext"),
        lifespan=lifespan,
        docs_url=None,  # its page loads from another site; `docs_route` has one that does not
        redoc_url=None,
        redirect_slashes=False,  # a redirect would lead to whatever Host the client named
    )
    middleware.install(app, settings)
    metrics = app.state.metrics
    worker = ModelWorker(settings.model_threads, settings.batch_candidates, metrics, app.state.service_time)
    store = FeatureStore(client, settings.redis_timeout_s, metrics)
    stream = EventStream(
        client,
        store.breaker,
        settings.redis_timeout_s,
        metrics.events,
        max_entries=settings.max_events,
        at_max=settings.at_max_events,
    )
    impressions, kept = _impressions(settings, stream, metrics.events)
    bulk = connect_later(settings.redis_url, timeout_s=READ_TIMEOUT_S)
    states: StateKeeper = StateFollower(bulk, worker, metrics)
    if settings.live_features:
        states = EventFollower(RedisEventLog(bulk), worker, metrics)
    models = HotSwap(
        Registry(settings.registry),
        store,
        listening,
        worker,
        states,
        DeletionsFollower(bulk, worker, store.report_undecodable),
        metrics,
        catalogue_bytes=settings.catalogue_mb * 1_000_000,
        device=settings.device,
    )
    reporter = Reporter(client, models, metrics)
    app.state.ranking = RankingService(models, worker, store, metrics, app.state.turns, kept)
    app.state.feedback = FeedbackService(models, stream, metrics.events, app.state.turns, impressions)
    app.include_router(router)
    return app


def _impressions(
    settings: ServingSettings, stream: EventStream, metrics: EventMetrics
) -> tuple[ImpressionWriter, ImpressionLog] | tuple[None, None]:
    """What writes impressions, and what makes them; none if they are off."""
    if settings.impressions is ImpressionMode.OFF:
        return None, None
    writer = ImpressionWriter(stream, metrics, waits=settings.impressions is ImpressionMode.SYNC)
    reported = settings.impressions_seen is Seen.SHOWN
    return writer, ImpressionLog(
        writer, reported=reported, predictions=settings.log_predictions, features=settings.log_features
    )
