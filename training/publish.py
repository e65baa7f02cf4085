"""From a training loop to a published bundle."""

import time
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import torch

from ranker.bundles.bundle import MANIFEST, Request, pack, read_manifest
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.features.sides import SIDES, Group
from ranker.features.values import FeatureValue, canonical
from ranker.spec import RankerSpec
from training.checkpoint import RunIdentity
from training.export_check import check_predictions, check_ranker
from training.loop import RECENT_ROWS, TrainingLoop

GOLDEN_CANDIDATES: Final = 8
"""Candidates of a golden request, if the rows suffice."""
GOLDEN_REQUESTS: Final = RECENT_ROWS // GOLDEN_CANDIDATES


def publish(loop: TrainingLoop, registry: Registry, run: RunIdentity, verdict: Verdict | None = None) -> str:
    """Add what a loop has learned to a registry and make it the current bundle, unless it is held back.

    Args:
        loop: After at least one step.
        registry: Where to.
        run: Which run it was.
        verdict: Whether it may rank, which the bundle's manifest keeps; None if that was not asked.

    Returns:
        The model version.

    Raises:
        BundleError: A number is not finite or plausible, or the bundle does not verify; nothing was added.
    """
    contents = export(loop, run, parent=registry.current_or_none(), verdict=verdict)
    with torch.random.fork_rng(devices=[]):
        # Verifying builds a second network; keep it from advancing the training RNG.
        version = registry.add(contents)
    if verdict is None or verdict.passed:
        registry.make_current(version)
    return version


def version_of(loop: TrainingLoop, run: RunIdentity) -> str:
    """The version that `publish` would give what a loop has learned.

    The same weights, state and golden requests have the same version, whenever they are exported.
    """
    contents = export(loop, run, parent=None)
    return read_manifest(contents[MANIFEST], where="the new bundle").model_version


def export(
    loop: TrainingLoop, run: RunIdentity, *, parent: str | None, verdict: Verdict | None = None
) -> dict[str, bytes]:
    """Turn what a loop has learned into a bundle's files.

    Golden requests are made of the rows that were learned last, at the time of the last one: so they reach
    the ids and the feature state that the bundle has.

    Args:
        loop: After at least one step.
        run: Which run it was.
        parent: The version that is current; None for none.
        verdict: Whether it may rank; None if that was not asked.

    Returns:
        The content of every file; the manifest names the version.

    Raises:
        BundleError: A number is not finite, or beyond all that is plausible.
    """
    trainer = loop.trainer
    assert loop.recent is not None
    assert trainer.watermark_ms is not None
    manifest = Manifest(
        model_version=f"{trainer.spec.name}-{_stamp(trainer.watermark_ms)}",
        name=trainer.spec.name,
        parent=parent,
        created_ms=time.time_ns() // 1_000_000,
        watermark_ms=trainer.watermark_ms,
        since_ms=run.since_ms,
        until_ms=run.until_ms,
        rows=trainer.rows,
        source=run.source,
        metrics={head: dict(metrics) for head, metrics in trainer.metrics.total().items()},
        gate=verdict,
        files={},
    )
    golden = golden_requests(loop.recent, trainer.spec, trainer.watermark_ms)
    with trainer.exported():
        check_ranker(trainer)
        contents = pack(manifest, trainer.encoder, trainer.model, golden)
    check_predictions(trainer, contents)
    return contents


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
            request=request[index],
            candidates=candidate[index : index + GOLDEN_CANDIDATES * count : count],
        )
        for index in range(count)
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


def _stamp(watermark_ms: int) -> str:
    return datetime.fromtimestamp(watermark_ms / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
