"""10,000 requests see in serving, bit by bit, what training sees at the same moment.

Serving's way: records and states out of Redis, requests out of JSON, the model's own batches. Training's way:
rows of a log, replayed in temporal order with their feedback. Between two moments the log goes on: training
replays it, serving gets its state refreshed.
"""

import asyncio
import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.features.sides import Group, Side
from ranker.labels.matrix import label_matrix
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect_async, connect_later
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.model.encoded_request import EncodedRequest, FetchedRecords
from serving.model.record_assembler import RecordAssembler
from serving.model.served_model import ServedModel
from serving.model.worker import ModelWorker
from serving.requests import RankRequest
from serving.sync import state_follower
from serving.sync.catalogue_follower import BLOCK_MS, CatalogueFollower
from serving.sync.feature_store import FeatureStore
from serving.sync.state_follower import StateFollower
from tests.data_location import kuairand_folder
from tests.training.record_source import RecordSource
from training.checkpoint import RunIdentity
from training.load_features import load_features
from training.loop import TrainingLoop
from training.publish import publish
from training.refresh_state import refresh_state
from training.sources.base import SourceBatch
from training.sources.registry import open_source
from training.trainer import Trainer

LEARNED = 12_288
"""Rows that the bundle has learned from."""
MOMENTS = 20
REQUESTS = 500
"""At each moment; those of one moment know nothing of each other."""
APART_MS = 45_000
"""Between two moments: less than feedback takes, so that some is always on its way."""
TOGETHER = 50
"""Requests that the model ranks in one batch."""
FURTHER = 40
"""Rows among which the second candidate is looked for."""
SPEC = load_spec("kuairand")
CONTEXT = [feature.source_column for feature in SPEC.side(Side.CONTEXT)]


@pytest.fixture(scope="module")
def source():
    return open_source(str(kuairand_folder()))


@pytest.fixture(scope="module")
def rows(source):
    """The rows to learn from, and those of the requests."""
    batch = next(iter(source.records(LEARNED + MOMENTS * REQUESTS + FURTHER)))
    return batch.slice(0, LEARNED), batch.slice(LEARNED)


@pytest.fixture(scope="module")
def registry(rows, source, tmp_path_factory):
    loop = TrainingLoop(Trainer(SPEC, seed=0))
    loop.run((SourceBatch(rows[0].slice(start, 256), {}) for start in range(0, LEARNED, 256)), [])
    registry = Registry(str(tmp_path_factory.mktemp("registry")))
    run = RunIdentity.of(SPEC, source=source.name, since_ms=None, until_ms=None, seed=0)
    publish(loop, registry, run)
    return registry


@pytest.fixture(scope="module")
def redis_url(source, tmp_path_factory):
    """A store with the log's viewers and videos."""
    with private_server(tmp_path_factory.mktemp("home")) as url:
        load_features(connect_later(url, timeout_s=10), SPEC, source, Console(file=io.StringIO()))
        yield url


@pytest.fixture(scope="module")
def log(rows):
    """Two rows for each request, one a candidate: its own video, and that of a later row."""
    learned, asked = rows
    count = MOMENTS * REQUESTS
    videos = np.array(asked.column("video_id").to_pylist())
    own = np.arange(count)
    differs = videos[own[:, None] + np.arange(FURTHER)] != videos[own, None]
    assert differs.any(axis=1).all()
    other = own + differs.argmax(axis=1)
    of_videos = {feature.source_column for feature in SPEC.side(Side.CANDIDATE)}
    requests, candidates = np.repeat(own, 2), np.stack([own, other], axis=1).ravel()
    first_ms = learned.column("time_ms")[-1].as_py() + APART_MS
    columns = {
        name: asked.column(name).take(pa.array(candidates if name in of_videos else requests))
        for name in asked.schema.names
    }
    columns["time_ms"] = pa.array(first_ms + np.repeat(np.arange(MOMENTS), 2 * REQUESTS) * APART_MS)
    return pa.RecordBatch.from_pydict(columns)


def by_row(inputs):
    """Everything that the network is given, as one array a feature or group of them, a row for each row."""
    found = {f"singles of width {width}": rows.numpy() for width, rows in inputs.singles.items()}
    found["numbers"] = inputs.numbers.numpy()
    for place, bag in enumerate(inputs.bags):
        counts = np.diff(np.append(bag.offsets.numpy(), len(bag.rows)))
        padded = np.full((inputs.count, 64), -1)
        padded[np.arange(64) < counts[:, None]] = bag.rows.numpy()
        found[f"bag {place}"] = padded
    for place, seen in enumerate(inputs.attended):
        there, whose = seen.there.numpy(), seen.history.numpy()
        for name in ("entries", "ages"):
            found[f"{name} {place}"] = np.where(there, getattr(seen, name).numpy(), -1)[whose]
        found[f"candidates {place}"] = seen.candidates.numpy()
    return found


def trained_on(registry, log):
    """What training's way gives for each moment, by group."""
    encoder = registry.read().encoder
    for start in range(0, log.num_rows, 2 * REQUESTS):
        batch = log.slice(start, 2 * REQUESTS)
        yield encoder.encode_examples(batch, labels=label_matrix(batch, SPEC.feedback)).groups


class Service:
    """What a service is made of, with a note of what its model reads."""

    def __init__(self, registry, url):
        metrics = Metrics(frozenset())
        self.worker = ModelWorker(1, 512, metrics, ServiceTime())
        self.store = FeatureStore(connect_async(url, timeout_s=10), 10, metrics)
        self.listening = connect_async(url, timeout_s=10, block_s=BLOCK_MS / 1000)
        self.states = StateFollower(connect_later(url, timeout_s=10), self.worker, metrics)
        bundle = registry.read()
        self.model = ServedModel(bundle, 100_000_000)
        self.encoder = bundle.encoder
        self.videos = CatalogueFollower(self.model, self.store, self.listening, self.worker.call)
        self.assembler = RecordAssembler(bundle.encoder)
        self.read = []
        encoder_read = bundle.encoder.read

        def noting(group, words, time_ms=0):
            inputs = encoder_read(group, words, time_ms)
            self.read.append((group, inputs))
            return inputs

        bundle.encoder.read = noting

    async def stop(self):
        await self.videos.stop()
        self.worker.close()
        await self.states.close()
        await self.store.close()
        await self.listening.aclose()

    async def request(self, first, second, moment_ms):
        """A request out of two rows of the log, as its route makes it."""
        body = RankRequest.model_validate(
            {
                "user": {"id": first["user_id"]},
                "query_video_id": first["query_video_id"],
                "context": {name: first[name] for name in CONTEXT},
                "candidates": [{"id": first["video_id"]}, {"id": second["video_id"]}],
                "time_ms": moment_ms,
            }
        )
        ids = [candidate["id"] for candidate in body.candidates]
        features = self.model.reader.read(body)
        request = EncodedRequest(body.query_video_id, ids, features, FetchedRecords(), body.time_ms)
        missing = self.model.catalogue.missing(request.video_ids)
        user, found, whole = await self.store.read(
            self.model.user_records, body.user.id, self.model.catalogue.layout, missing
        )
        assert whole
        return replace(request, fetched=FetchedRecords(user, frozenset(missing), found))

    async def rank(self, requests):
        """What the model reads when it ranks these together, by group."""
        self.read.clear()
        await self.worker.call(lambda: self.model.predict(requests))
        found = {group: inputs for group, inputs in self.read if group is not Group.CANDIDATE}
        catalogue = self.model.catalogue
        ids = [video_id for request in requests for video_id in request.candidate_ids]
        words = self.assembler.stored_candidates(catalogue.records(catalogue.rows(ids)))
        return {**found, Group.CANDIDATE: self.encoder.read(Group.CANDIDATE, words)}


def test_serving_sees_what_training_sees(registry, redis_url, log, monkeypatch):
    refreshed = registry.read()
    names = ["user_id", "video_id", "query_video_id", *CONTEXT]
    asked = log.select(names).to_pylist()
    moments_ms = log.column("time_ms").to_numpy()[:: 2 * REQUESTS].tolist()

    async def main():
        service = Service(registry, redis_url)
        await service.videos.start()
        versions, compared = set(), 0
        for moment, expected in enumerate(trained_on(registry, log)):
            moment_ms = moments_ms[moment]
            monkeypatch.setattr(state_follower, "_now_ms", lambda moment_ms=moment_ms: moment_ms)
            source = RecordSource(log)
            with connect_later(redis_url, timeout_s=10) as client:
                refresh_state(client, refreshed, source, Console(file=io.StringIO()), until_ms=moment_ms)
            await service.states.refresh(service.model)
            versions.add(service.model.state.version)
            ids = service.model.catalogue.ids()
            await service.worker.call(
                lambda ids=ids: service.model.catalogue.remove(ids[::3])
            )  # to be fetched
            first = moment * 2 * REQUESTS
            for start in range(0, 2 * REQUESTS, 2 * TOGETHER):
                places = range(first + start, first + start + 2 * TOGETHER, 2)
                requests = await asyncio.gather(
                    *(service.request(asked[place], asked[place + 1], moment_ms) for place in places)
                )
                found = await service.rank(requests)
                for group, inputs in found.items():
                    values = by_row(inputs)
                    for name, wanted in by_row(expected[group]).items():
                        value = np.repeat(values[name], 2, axis=0) if group is Group.REQUEST else values[name]
                        np.testing.assert_array_equal(
                            value, wanted[start : start + 2 * TOGETHER], err_msg=f"{group} {name}"
                        )
                compared += len(requests)
        await service.stop()
        return len(versions), compared

    assert asyncio.run(main()) == (MOMENTS, MOMENTS * REQUESTS)
