"""Whether the position tower finds the examination curve of a world in which it is known.

`python -m tests.integration.test_position_bias --days 10` prints the figures of a longer run.
"""

import argparse
import json
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import torch

from ranker.features.sides import Side
from ranker.metrics.exact import expected_auc
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.sources.simulated.population import DAY_MS, DEVICES, EPOCH_MS, PAGE
from training.sources.simulated.source import SimulatedSource
from training.trainer import Trainer


@dataclass(frozen=True)
class Figures:
    """Correlations are of the learned logit with the true examination probability's logarithm."""

    rows: int
    correlation_by_device: dict[str, float]
    correlation_of_mean_curve: float
    relevance_auc_with_tower: float
    relevance_auc_without_tower: float
    relevance_auc_of_the_truth: float


def measure(days: int, seed: int = 0) -> Figures:
    """Learn all days but the last, with the position tower and without; judge on the last."""
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
    """The same ranker with no position tower."""
    tasks = tuple(task.model_copy(update={"position_bias": False}) for task in spec.tasks)
    features = tuple(f for f in spec.features if f not in spec.side(Side.BIAS))
    return spec.model_copy(update={"tasks": tasks, "features": features})


def click_logits(trainer: Trainer, batch: pa.RecordBatch) -> np.ndarray:
    """What the model would rank by, were clicks all that counts."""
    with torch.inference_mode(), trainer.average.applied():
        output = trainer.model(trainer.encoder.encode_examples(batch))
    return output[:, [task.name for task in trainer.spec.tasks].index("click")].double().numpy()


def learned_curve(trainer: Trainer) -> np.ndarray:
    """(position, device): the tower's logit for clicks."""
    layout = trainer.encoder.layout
    cells = pa.record_batch(
        {
            "position": np.repeat(np.arange(1, PAGE + 1), len(DEVICES)),
            "device": list(DEVICES) * PAGE,
        }
    )
    tower = trainer.model.position
    assert tower is not None
    assert [f.name for f in layout.bias] == ["position", "bias_device"]
    values = [[str(value) for value in f.values or ()] for f in layout.bias]
    places = [
        [2 + known.index(str(value)) for value in cells.column(name).to_pylist()]
        for name, known in zip(("position", "device"), values, strict=True)
    ]
    with torch.inference_mode():
        logits = tower.eval()(torch.tensor(places).T)[:, 0]  # click is the first biased head
    return logits.double().numpy().reshape(PAGE, len(DEVICES))


def test_the_position_tower_learns_the_examination_curve_and_ranks_by_relevance() -> None:
    figures = measure(days=4)

    print(json.dumps(asdict(figures), indent=2))
    assert min(figures.correlation_by_device.values()) > 0.9
    assert figures.relevance_auc_with_tower > figures.relevance_auc_without_tower + 0.002
    assert figures.relevance_auc_with_tower < figures.relevance_auc_of_the_truth


def _trained(spec: RankerSpec, source: SimulatedSource, until_ms: int) -> Trainer:
    trainer = Trainer(spec, seed=0)
    for batch in source.records(spec.training.batch_size, until_ms=until_ms):
        trainer.step(batch)
    return trainer


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(asdict(measure(options.days, options.seed)), indent=2))
