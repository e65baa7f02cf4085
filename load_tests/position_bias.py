"""Test of the position tower in the simulated world, whose examination curve is known.

`python -m load_tests.position_bias [--days 10] [--seed 0]` trains the preset `simulated` with the position
tower and without it, and prints the figures as JSON. `tests/integration/test_position_bias.py` asserts them
for four days.
"""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from ranker.features.layout import Layout
from ranker.features.sides import Side
from ranker.metrics.exact import expected_auc
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.sources.simulated.population import DAY_MS, DEVICES, EPOCH_MS, PAGE
from training.sources.simulated.source import SimulatedSource
from training.trainer import Trainer


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(json.dumps(asdict(measure(given.days, given.seed)), indent=2))


@dataclass(frozen=True)
class Figures:
    """Agreement of the position tower with the true curve, and its effect on ranking by relevance.

    Attributes:
        rows: Impressions that were learned.
        correlation_by_device: Of the learned logit with the log of the true examination probability, over the
            positions of each device.
        correlation_of_mean_curve: The same of the means over devices.
        relevance_auc_with_tower: AUC of the click logit against true relevance on the last day.
        relevance_auc_without_tower: The same of a ranker trained without the tower.
        relevance_auc_of_the_truth: The highest that any ranking can reach.
    """

    rows: int
    correlation_by_device: dict[str, float]
    correlation_of_mean_curve: float
    relevance_auc_with_tower: float
    relevance_auc_without_tower: float
    relevance_auc_of_the_truth: float


def measure(days: int, seed: int = 0) -> Figures:
    """Learn all days but the last, with the position tower and without it; evaluate on the last.

    Args:
        days: Length of the simulated log; at least 2.
        seed: Of the simulated world.
    """
    spec = load_spec("simulated")
    source = SimulatedSource(days, seed)
    last_day = EPOCH_MS + (days - 1) * DAY_MS
    with_tower, without = (_trained(s, source, last_day) for s in (spec, without_position(spec)))
    truth, scores = [], {"with": [], "without": []}
    for batch in source.records(8192, since_ms=last_day):
        truth.append(batch.column("true_relevance").to_numpy())
        scores["with"].append(click_logits(with_tower, batch))
        scores["without"].append(click_logits(without, batch))
    relevance = np.concatenate(truth).astype(np.float64)
    curve = source.examination_curve().column("examination").to_numpy().reshape(PAGE, len(DEVICES))
    learned = learned_curve(with_tower)
    by_device = {d: _correlation(learned[:, i], np.log(curve[:, i])) for i, d in enumerate(DEVICES)}
    return Figures(
        rows=with_tower.rows,
        correlation_by_device=by_device,
        correlation_of_mean_curve=_correlation(learned.mean(axis=1), np.log(curve).mean(axis=1)),
        relevance_auc_with_tower=expected_auc(relevance, np.concatenate(scores["with"])),
        relevance_auc_without_tower=expected_auc(relevance, np.concatenate(scores["without"])),
        relevance_auc_of_the_truth=expected_auc(relevance, relevance),
    )


def without_position(spec: RankerSpec) -> RankerSpec:
    """The same ranker without a position tower."""
    tasks = tuple(task.model_copy(update={"position_bias": False}) for task in spec.tasks)
    features = tuple(f for f in spec.features if f not in spec.side(Side.BIAS))
    return spec.model_copy(update={"tasks": tasks, "features": features})


def click_logits(trainer: Trainer, batch: pa.RecordBatch) -> np.ndarray:
    """Predict clicks without the position tower: (B,) float64 logits of a batch's B rows."""
    with torch.inference_mode(), trainer.average.applied():
        output = trainer.model(trainer.encoder.encode_examples(batch))
    return output[:, [task.name for task in trainer.spec.tasks].index("click")].double().numpy()


def learned_curve(trainer: Trainer) -> np.ndarray:
    """The tower's logit for clicks: (PAGE, devices) float64, a row per position."""
    tower = trainer.model.position
    assert tower is not None
    with torch.inference_mode():
        logits = tower.eval()(_bias_rows(trainer.encoder.layout))[:, 0]  # click is the first biased head
    return logits.double().numpy().reshape(PAGE, len(DEVICES))


def _bias_rows(layout: Layout) -> Tensor:
    """Rows of the tower's tables, (PAGE * devices, 2) int64: every position with every device."""
    assert [f.name for f in layout.bias] == ["position", "bias_device"]
    position, device = ([str(value) for value in f.values or ()] for f in layout.bias)
    # rows 0 and 1 are "missing" and "other"
    position_row = [2 + position.index(str(value)) for value in range(1, PAGE + 1)]
    device_row = [2 + device.index(value) for value in DEVICES]
    return torch.cartesian_prod(torch.tensor(position_row), torch.tensor(device_row))


def _trained(spec: RankerSpec, source: SimulatedSource, until_ms: int) -> Trainer:
    trainer = Trainer(spec, seed=0)
    for batch in source.records(spec.training.batch_size, until_ms=until_ms):
        trainer.step(batch)
    return trainer


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    main()
