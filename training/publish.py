"""From a trainer to a published bundle."""

import time
from datetime import UTC, datetime

import pyarrow as pa
import torch

from ranker.bundles.bundle import Request, pack
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.features.layout import SIDES, Group
from ranker.features.values import FeatureValue, canonical
from ranker.spec import RankerSpec
from training.checkpoint import Position
from training.trainer import Trainer

GOLDEN_REQUESTS = 3
GOLDEN_CANDIDATES = 8


def publish(trainer: Trainer, registry: Registry, run: Position, sample: pa.RecordBatch) -> str:
    """Export what a trainer has learned and make it the registry's current bundle.

    Args:
        trainer: After its run.
        registry: Where to.
        run: Which run it was.
        sample: Examples to make golden requests of.

    Returns:
        The model version.
    """
    total = trainer.metrics.total()
    manifest = Manifest(
        model_version=f"{trainer.spec.name}-{_stamp(trainer.watermark_ms)}",
        name=trainer.spec.name,
        parent=registry.current_or_none(),
        created_ms=time.time_ns() // 1_000_000,
        watermark_ms=trainer.watermark_ms,
        since_ms=run.since_ms,
        until_ms=run.until_ms,
        rows=trainer.rows,
        source=run.source,
        metrics={head: dict(metrics) for head, metrics in total.items()},
        files={},
    )
    golden = golden_requests(sample, trainer.spec, trainer.watermark_ms or 0)
    with trainer.exported():
        contents = pack(manifest, trainer.encoder, trainer.model, golden)
    with torch.random.fork_rng(
        devices=[]
    ):  # the bundle is verified, and a network that is made draws numbers
        return registry.publish(contents)


def golden_requests(sample: pa.RecordBatch, spec: RankerSpec, time_ms: int) -> list[Request]:
    """Make requests out of examples: the first rows' viewers, with the videos of the rows that follow.

    Args:
        sample: A few examples; at most GOLDEN_REQUESTS * GOLDEN_CANDIDATES are used.
        spec: Names the columns.
        time_ms: When the requests are made.
    """
    count = min(GOLDEN_REQUESTS, sample.num_rows)
    request = _values(sample, spec, (Group.REQUEST,))
    candidate = _values(sample, spec, (Group.CANDIDATE, Group.PAIR))
    return [
        Request(
            time_ms=time_ms,
            request=request[place],
            candidates=candidate[place : place + GOLDEN_CANDIDATES * count : count],
        )
        for place in range(count)
    ]


def _values(
    sample: pa.RecordBatch, spec: RankerSpec, groups: tuple[Group, ...]
) -> list[dict[str, FeatureValue]]:
    rows: list[dict[str, FeatureValue]] = [{} for _ in range(sample.num_rows)]
    for feature in spec.side(*(side for group in groups for side in SIDES[group])):
        column = canonical(sample.column(feature.source_column), feature)
        for row, value in zip(rows, column.to_pylist(), strict=True):
            row[feature.source_column] = value
    return rows


def _stamp(watermark_ms: int | None) -> str:
    if watermark_ms is None:
        return "untrained"
    return datetime.fromtimestamp(watermark_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
