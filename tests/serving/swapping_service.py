"""A service that watches its registry and looks at it often."""

import asyncio

import pytest

from ranker.bundles.registry import Registry
from ranker.store.connection import connect_async, connect_later
from serving.http.deadline import NO_DEADLINE
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.worker import ModelWorker
from serving.requests import RankRequest
from serving.sync import hot_swap as module
from serving.sync.deletions_follower import DeletionsFollower
from serving.sync.feature_store import FeatureStore
from serving.sync.hot_swap import HotSwap
from serving.sync.state_follower import StateFollower
from tests.serving.metric_value import metric_value
from tests.serving.waiting import until

ROWS = [{"video_id": f"v{i}", "duration_s": float(i)} for i in range(50)]


class Service:
    def __init__(self, folder, url):
        self.metrics = Metrics(frozenset())
        self.store = FeatureStore(connect_async(url, timeout_s=1), 1, self.metrics)
        self.listening = connect_async(url, timeout_s=1, block_s=0.05)
        self.worker = ModelWorker(1, 512, self.metrics, ServiceTime())
        self.states = StateFollower(connect_later(url, timeout_s=0.2), self.worker, self.metrics)
        self.models = HotSwap(
            Registry(str(folder)),
            self.store,
            self.listening,
            self.worker,
            self.states,
            DeletionsFollower(connect_later(url, timeout_s=0.2), self.worker, self.store.report_undecodable),
            self.metrics,
            catalogue_bytes=1,
            device="cpu",
        )

    @property
    def version(self):
        return self.models.model.manifest.model_version

    def metric(self, series):
        return metric_value(self.metrics, series)

    async def until_it_ranks(self, version):
        await until(lambda: self.version == version)

    async def rank(self, model, count=3):
        ids = [row["video_id"] for row in ROWS[:count]]
        body = {"user": {"id": "u"}, "candidates": [{"id": video_id} for video_id in ids]}
        features = model.reader.read(RankRequest.model_validate(body))
        request = EncodedRequest(None, ids, features, FetchedRecords(), 0)
        predictions, _ = await self.worker.predict(model, request, NO_DEADLINE)
        return predictions


def serving(folder, server, use):
    """Run `use` with a service that has started."""

    async def main():
        service = Service(folder, server.url)
        await service.models.start()
        try:
            await use(service)
        finally:
            await service.models.stop()
            service.worker.close()
            await service.states.close()
            await service.store.close()
            await service.listening.aclose()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "POLL_S", 0.02)
        patch.setattr("serving.sync.catalogue_follower.BLOCK_MS", 50)
        asyncio.run(main())
