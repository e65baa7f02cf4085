from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from ranker.bundles.registry import Registry
from ranker.errors import BundleError
from ranker.features.state.feature_state import PENDING_LABELS
from tests.load_tests.judging.judged_log import SPEC, small_log
from tests.ranker.small_spec import SMALL_SPEC
from tests.training.toy import TOY_SPEC, toy_batch, with_column
from training.checkpoint import RunIdentity
from training.loop import TrainingLoop
from training.publish import publish
from training.sources.base import SourceBatch
from training.trainer import Trainer

RUN = RunIdentity.of(SMALL_SPEC, source="toy", since_ms=None, until_ms=None, seed=0)


def trained() -> TrainingLoop:
    loop = TrainingLoop(Trainer(TOY_SPEC, seed=0))
    loop.run((SourceBatch(toy_batch(seed), {}) for seed in range(4)), [])
    return loop


def spoil_weight(trainer: Trainer) -> None:
    trainer.average.average[0][0] = torch.nan


def spoil_embedding(trainer: Trainer) -> None:
    with torch.no_grad():
        trainer.model.embedding.tables["4"][7] = 1e9


def spoil_statistics(trainer: Trainer) -> None:
    state = trainer.encoder.state()
    statistics = {
        group: own.model_copy(update={"squares": [np.inf for _ in own.squares]})
        for group, own in state.statistics.items()
    }
    trainer.encoder.load(state.model_copy(update={"statistics": statistics}))


def spoil_correction(trainer: Trainer, *shifts: float) -> None:
    trainer.correction.shifts = lambda: np.array(shifts)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_weight, "expected finite numbers in [a-z.]+, found"),
        (spoil_embedding, "expected weights up to 1e.06 in embedding.*, found 1e.09"),
        (spoil_statistics, "expected finite numbers in squares of the .* numbers, found"),
        (lambda trainer: spoil_correction(trainer, 25.0, 0.0), "a correction of 'click' up to 20, found 25"),
        (lambda trainer: spoil_correction(trainer, np.inf, 0.0), "expected finite numbers in .*bias, found"),
        (
            lambda trainer: spoil_correction(trainer, 0.0, 15.0),
            "expected predictions of 'watch_time' near its plausible labels, .* to .*, found",
        ),
    ],
    ids=["weight", "embedding", "statistics", "correction", "infinite correction", "amounts"],
)
def test_implausible_numbers_are_refused_before_anything_is_added(
    tmp_path: Path, spoil: Callable[[Trainer], None], message: str
) -> None:
    loop, registry = trained(), Registry(str(tmp_path))
    kept = publish(loop, registry, RUN)
    spoil(loop.trainer)

    with pytest.raises(BundleError, match=f"the new bundle: .*{message}.*; nothing was published"):
        publish(loop, registry, RUN)

    assert registry.versions() == [kept]
    assert registry.current() == kept


@pytest.mark.parametrize("last", [1, 40])
def test_labels_that_are_missing_in_rows_that_wait_for_feedback_are_no_reason(
    tmp_path: Path, last: int
) -> None:
    records = small_log().records
    clicks = records.column("click").to_pylist()
    records = with_column(records, "click", pa.array([*clicks[:-last], *[None] * last], pa.float64()))
    loop = TrainingLoop(Trainer(SPEC, seed=0))
    loop.run((SourceBatch(records.slice(start, 64), {}) for start in range(0, len(records), 64)), [])
    waiting = loop.trainer.encoder.arrays()[PENDING_LABELS]
    assert np.isnan(waiting).any()

    registry = Registry(str(tmp_path))
    assert publish(loop, registry, RUN) == registry.current()

    waiting[0, 0] = np.inf
    loop.trainer.encoder.load_arrays(loop.trainer.encoder.arrays() | {PENDING_LABELS: waiting})
    with pytest.raises(BundleError, match=f"expected finite numbers in {PENDING_LABELS}, found"):
        publish(loop, registry, RUN)
