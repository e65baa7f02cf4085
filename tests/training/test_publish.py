from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ranker.bundles.bundle import GOLDEN, GOLDENS, unpack
from ranker.bundles.registry import Registry
from ranker.labels.natural_units import natural_units
from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.serving.state_ranker import STATE_SPEC, log_of
from training.checkpoint import RunIdentity
from training.loop import RECENT_ROWS, TrainingLoop
from training.publish import GOLDEN_CANDIDATES, GOLDEN_REQUESTS, export, golden_requests, publish, version_of
from training.sources.base import SourceBatch
from training.sources.merge import rebatch
from training.trainer import Trainer

RECORDS = random_records(128)
BATCHES = list(rebatch([pa.Table.from_batches([RECORDS])], 32))
SAMPLE = RECORDS.slice(0, GOLDEN_REQUESTS * GOLDEN_CANDIDATES)
RUN = RunIdentity.of(SMALL_SPEC, source="test_publish.py", since_ms=5, until_ms=None, seed=0)


def trained(batches: int = 4, *, seed: int = 0) -> TrainingLoop:
    loop = TrainingLoop(Trainer(SMALL_SPEC, seed=seed))
    loop.run((SourceBatch(batch, {}) for batch in BATCHES[:batches]), [])
    return loop


def test_the_bundle_predicts_as_the_trainer_with_its_averaged_and_corrected_weights(tmp_path: Path) -> None:
    loop = trained()
    trainer = loop.trainer
    publish(loop, Registry(str(tmp_path)), RUN)

    bundle = Registry(str(tmp_path)).read()
    records = random_records(50, seed=3)
    with torch.no_grad(), trainer.average.applied():
        outputs = trainer.model.eval()(trainer.encoder.encode_examples(records))
        expected = outputs + torch.from_numpy(trainer.correction.shifts()).float()
    with torch.no_grad():
        found = bundle.model(bundle.encoder.encode_examples(records))
    np.testing.assert_allclose(
        natural_units(found, SMALL_SPEC.tasks), natural_units(expected, SMALL_SPEC.tasks), rtol=1e-5
    )
    assert (trainer.correction.shifts() != 0).all()


def test_the_manifest_says_what_was_learned_and_from_where(tmp_path: Path) -> None:
    registry, loop = Registry(str(tmp_path)), trained()
    first = publish(trained(2), registry, RUN)
    version = publish(loop, registry, RUN)

    manifest = registry.manifest(version)
    newest_ms = RECORDS.column("time_ms")[-1].as_py()
    assert (manifest.rows, manifest.watermark_ms, manifest.parent) == (128, newest_ms, first)
    assert (manifest.source, manifest.since_ms, manifest.until_ms) == ("test_publish.py", 5, None)
    assert manifest.metrics == loop.trainer.metrics.total()
    stamp = datetime.fromtimestamp(newest_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    assert version.startswith(f"small-{stamp}-")


def test_the_same_training_has_the_same_version_and_another_one_another(tmp_path: Path) -> None:
    versions = [
        publish(loop, Registry(str(tmp_path / str(index))), RUN)
        for index, loop in enumerate((trained(), trained(), trained(seed=1)))
    ]
    assert versions[0] == versions[1] != versions[2]


def test_publishing_does_not_disturb_the_training(tmp_path: Path) -> None:
    undisturbed = trained().trainer
    loop = trained(3)
    publish(loop, Registry(str(tmp_path)), RUN)
    disturbed = loop.trainer
    assert disturbed.model.training
    disturbed.step(BATCHES[3])
    for name, tensor in undisturbed.model.state_dict().items():
        assert torch.equal(disturbed.model.state_dict()[name], tensor), name


def test_golden_requests_are_of_the_rows_that_were_learned_last_at_their_time() -> None:
    contents = export(trained(), RUN, parent=None)

    golden = GOLDENS.validate_json(contents[GOLDEN])
    newest_ms = RECORDS.column("time_ms")[-1].as_py()
    assert [request.time_ms for request in golden] == [newest_ms] * GOLDEN_REQUESTS
    last = RECORDS.slice(RECORDS.num_rows - RECENT_ROWS)
    expected = golden_requests(last, SMALL_SPEC, newest_ms)
    assert [request.request for request in golden] == [request.request for request in expected]
    assert [request.candidates for request in golden] == [request.candidates for request in expected]


def test_golden_predictions_are_made_when_the_last_row_was() -> None:
    """The state of a rate, an age or a history says something else at another time."""
    loop = TrainingLoop(Trainer(STATE_SPEC, seed=0))
    log = log_of(600)
    loop.run((SourceBatch(log.slice(start, 100), {}) for start in range(0, 600, 100)), [])
    contents = export(loop, RUN, parent=None)

    bundle = unpack(contents, where="the bundle")
    for golden in GOLDENS.validate_json(contents[GOLDEN]):
        assert golden.time_ms == log.column("time_ms")[-1].as_py()
        found = bundle.predict(golden.request, golden.candidates, time_ms=golden.time_ms)
        np.testing.assert_allclose(golden.predictions, found, rtol=1e-4)
        at_0 = bundle.predict(golden.request, golden.candidates, time_ms=0)
        assert not np.allclose(golden.predictions, at_0, rtol=1e-3)


def test_the_version_is_known_before_it_is_published(tmp_path: Path) -> None:
    loop, registry = trained(), Registry(str(tmp_path))
    version = version_of(loop, RUN)

    assert registry.versions() == []
    assert publish(loop, registry, RUN) == version
    assert version_of(loop, RUN) == version != version_of(trained(3), RUN)


def test_golden_requests_are_of_the_first_viewers_for_the_sampled_videos() -> None:
    requests = golden_requests(SAMPLE, SMALL_SPEC, 0)

    assert len(requests) == GOLDEN_REQUESTS
    users = [str(user) for user in SAMPLE.column("user_id").to_pylist()]
    assert [request.request["user_id"] for request in requests] == users[:GOLDEN_REQUESTS]
    videos = [video["video_id"] for request in requests for video in request.candidates]
    assert sorted(videos) == sorted(map(str, SAMPLE.column("video_id").to_pylist()))
    request, candidate = requests[0].request, requests[0].candidates[0]
    assert request.keys() & candidate.keys() == set()
    assert "position" not in request.keys() | candidate.keys()
    assert {"hour", "query_tags"} <= request.keys()
    assert {"duration_s", "affinity"} <= candidate.keys()


def test_a_single_row_makes_a_golden_request() -> None:
    (request,) = golden_requests(SAMPLE.slice(0, 1), SMALL_SPEC, 0)
    assert len(request.candidates) == 1
