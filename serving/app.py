"""The service as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from ranker.bundles.registry import Registry
from ranker.store.connection import connect_async
from serving import shell
from serving.feature_store import FeatureStore
from serving.model_worker import ModelWorker
from serving.ranking import RankingService
from serving.routes import router
from serving.settings import ServingSettings


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
    bundle = Registry(settings.registry).read()
    worker = ModelWorker(bundle, settings.model_threads)
    store = FeatureStore(connect_async(settings.redis_url, timeout_s=settings.redis_timeout_s))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()
        await store.close()

    app = FastAPI(
        title="watchnext",
        description="Ranks candidate videos for one viewer by several predicted goals at once.",
        version=version("watchnext"),
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.ranking = RankingService(bundle, worker, store)
    shell.install(app, settings)
    app.include_router(router)
    return app
