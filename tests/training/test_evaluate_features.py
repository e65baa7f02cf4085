"""Judging with features that go on through the judged rows, and with features that stand still."""

import numpy as np
import pyarrow as pa
import pytest

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.spec_file import parse_spec
from tests.training.record_source import RecordSource
from training.checkpoint import RunIdentity
from training.evaluate import EvaluationReport, FeatureMode, evaluate
from training.loop import TrainingLoop
from training.publish import publish
from training.sources.base import SourceBatch
from training.trainer import Trainer

SPEC = parse_spec(
    """
name: habits
features:
  - {name: user_id, side: user, kind: id, buckets: 1}
  - {name: video_id, side: candidate, kind: id, buckets: 1}
  - {name: user_rates, kind: rate, of: [user_id], labels: [click], half_lives: [1h], prior_strength: 1}
  - {name: clicked, kind: history, of: video_id, label: click, length: 4}
  - {name: user_age, kind: age, of: [user_id]}
tasks: [{name: click, group: engagement, kind: binary, label_wait: 10s}]
network: {shared: [8], experts: 2, expert: [8], tower: [4]}
score: {terms: [{head: click}]}
""",
    where="test_evaluate_features.py",
)
VIEWERS, MINUTE_MS = 30, 60_000
DAY_MS = 1_440 * MINUTE_MS


def day(start_ms: int, minutes: int, seed: int) -> pa.Table:
    """Every viewer sees a video a minute; on each day other viewers click nearly all of them."""
    random = np.random.default_rng(seed)
    habit = np.where(random.permutation(VIEWERS) % 2 == 0, 0.95, 0.05)
    viewer = np.tile(np.arange(VIEWERS), minutes)
    time_ms = start_ms + np.repeat(np.arange(minutes), VIEWERS) * MINUTE_MS + viewer
    click = (random.random(len(viewer)) < habit[viewer]).astype(float)
    return pa.table({"time_ms": time_ms, "user_id": viewer, "video_id": viewer % 7, "click": click})


DAYS = [day(start, 60, seed) for seed, start in enumerate(range(0, 4 * DAY_MS, DAY_MS))]
LEARNED = pa.concat_tables(DAYS[:3]).combine_chunks().to_batches()[0]
WATERMARK_MS = LEARNED["time_ms"][-1].as_py()
SOURCE = RecordSource(pa.concat_tables(DAYS).combine_chunks().to_batches()[0])
HALF_MS = 3 * DAY_MS + 30 * MINUTE_MS


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    registry = Registry(str(tmp_path_factory.mktemp("registry")))
    loop = TrainingLoop(Trainer(SPEC, seed=0))
    loop.run((SourceBatch(LEARNED.slice(start, 30), {}) for start in range(0, len(LEARNED), 30)), [])
    run = RunIdentity.of(SPEC, source="records", since_ms=None, until_ms=None, seed=0)
    publish(loop, registry, run)
    return registry.read()


def judged(bundle: Bundle, features: FeatureMode, since_ms: int | None = None) -> EvaluationReport:
    return evaluate(bundle, SOURCE, since_ms=since_ms, features=features, replicates=5)


def auc(report: EvaluationReport) -> float:
    found = report.heads["click"].auc
    assert found is not None
    return found


def test_live_features_follow_habits_that_change_after_the_training(bundle: Bundle) -> None:
    assert auc(judged(bundle, FeatureMode.LIVE)) > 0.9
    assert auc(judged(bundle, FeatureMode.FROZEN)) < 0.7


def test_live_features_go_through_what_lies_between_the_training_and_the_range(bundle: Bundle) -> None:
    late = judged(bundle, FeatureMode.LIVE, since_ms=HALF_MS)

    assert late.rows == 30 * VIEWERS
    assert auc(late) > 0.93  # without the first half, each viewer's first rows would be guessed
    assert auc(judged(bundle, FeatureMode.FROZEN, since_ms=HALF_MS)) < 0.7


@pytest.mark.parametrize("features", FeatureMode)
def test_judging_twice_gives_the_same_and_leaves_the_state_alone(
    bundle: Bundle, features: FeatureMode
) -> None:
    before = bundle.encoder.feature_state.state()
    first = judged(bundle, features)

    assert judged(bundle, features) == first
    after = bundle.encoder.feature_state.state()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
