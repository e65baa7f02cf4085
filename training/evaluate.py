"""How good a bundle is on rows that it has not learned from, with intervals over viewers.

The weights stand still. Features that learn from the stream stand still as well (`frozen`), or go on with the
rows (`live`): each row is judged with what was known when its request was made.

Shape letters: N rows, T tasks, L tasks of a probability.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny
from rich.console import Console

from ranker.bundles.bundle import Bundle
from ranker.errors import SourceError
from ranker.events import TIME_MS, USER_ID, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.sides import Side
from ranker.labels.head_report import HeadReport, JudgedRows
from ranker.labels.matrix import known_by, label_matrix
from ranker.labels.natural_units import natural_units
from training.baseline import SmoothedRates
from training.located import located
from training.progress import Progress, event_span
from training.side_tables import younger_columns
from training.sources.base import Source

BATCH_ROWS = 8192


class FeatureMode(StrEnum):
    """What features that learn from the stream know of the rows that are judged.

    Attributes:
        FROZEN: Nothing: they stand where the bundle was made. Decay and ages still follow the clock.
        LIVE: What came before each row's time, labels only after their `label_wait`.
    """

    FROZEN = "frozen"
    LIVE = "live"


class EvaluationReport(BaseModel):
    """All heads of one bundle on one range of a log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_version: str
    features: FeatureMode
    rows: int
    heads: dict[str, SerializeAsAny[HeadReport]]
    warnings: tuple[str, ...] = Field((), description="Why the figures may be better than when ranking.")


@dataclass(frozen=True)
class _Rows:
    """What is kept of the evaluated rows."""

    last_ms: int
    viewers: NDArray[np.int64]
    labels: NDArray[np.float32]
    predictions: NDArray[np.float64]
    baseline: NDArray[np.float64] | None


def evaluate(
    bundle: Bundle,
    source: Source,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    features: FeatureMode = FeatureMode.LIVE,
    with_baseline: bool = False,
    replicates: int = 1000,
    console: Console | None = None,
) -> EvaluationReport:
    """Predict a range of a log, as when ranking, and compare with what happened.

    The bundle stays as it is: live features go on in a copy of their state, through the rows between the
    bundle's watermark and the range as well. Memory grows with the rows of the range, by a few numbers each.

    Args:
        bundle: The model.
        source: The log.
        since_ms: First event time; None for the bundle's watermark, after which it has seen nothing.
        until_ms: First event time to leave out.
        features: Whether features that learn from the stream go on with the rows.
        with_baseline: Also fit `SmoothedRates` of the viewer, the video and the first context column on the
            bundle's own training range, read from the same source, and compare.
        replicates: Draws of viewers for the intervals.
        console: Shows the progress; None for none.

    Raises:
        SourceError: The range has no rows, overlaps with the training range, or columns are missing.
    """
    bundle.spec.check_schema(source.schema, where=source.name)
    watermark = bundle.manifest.watermark_ms
    if since_ms is None and watermark is not None:
        since_ms = watermark + 1
    if watermark is not None and since_ms is not None and since_ms <= watermark:
        raise SourceError(
            f"--since: expected a time after the bundle's training, which reached {_time(watermark)}, "
            f"found {_time(since_ms)}: rows that were learned from say nothing"
        )
    baseline = _fitted_baseline(bundle, source) if with_baseline else None
    live = features is FeatureMode.LIVE and bool(bundle.spec.state_features)
    encoder = bundle.encoder.with_own_state() if live else bundle.encoder
    if live and since_ms is not None and (watermark is None or since_ms > watermark + 1):
        after = None if watermark is None else watermark + 1
        for batch in source.records(BATCH_ROWS, since_ms=after, until_ms=since_ms):
            encoder.replay(batch, label_matrix(batch, bundle.spec.feedback))
    batches = source.records(BATCH_ROWS, since_ms=since_ms, until_ms=until_ms)
    span = partial(event_span, source, since_ms, until_ms)
    with Progress(console or Console(quiet=True), "rows judged", span) as progress:
        rows = _gather(bundle, encoder, source.name, batches, baseline, progress, live=live)
    if rows is None:
        raise SourceError(f"{source.name}: expected examples within --since and --until, found none")
    compared = [task.name for task in bundle.spec.tasks if task.is_probability]
    heads: dict[str, HeadReport] = {}
    for index, task in enumerate(bundle.spec.tasks):
        known = ~np.isnan(rows.labels[:, index])
        baseline_scores = None
        if rows.baseline is not None and task.is_probability:
            baseline_scores = rows.baseline[known, compared.index(task.name)]
        judged = JudgedRows(
            labels=rows.labels[known, index].astype(np.float64),
            predictions=rows.predictions[known, index],
            viewers=rows.viewers[known],
            baseline=baseline_scores,
            replicates=replicates,
        )
        heads[task.name] = task.report(judged)
    return EvaluationReport(
        model_version=bundle.manifest.model_version,
        features=features,
        rows=len(rows.viewers),
        heads=heads,
        warnings=younger_columns(bundle.spec, source, rows.last_ms),
    )


def _fitted_baseline(bundle: Bundle, source: Source) -> SmoothedRates:
    context = [f.source_column for f in bundle.spec.side(Side.CONTEXT)][:1]
    tasks = [task for task in bundle.spec.tasks if task.is_probability]
    rates = SmoothedRates([USER_ID, VIDEO_ID, *context], [task.source_column for task in tasks])
    manifest = bundle.manifest
    until = None if manifest.watermark_ms is None else manifest.watermark_ms + 1

    def labels(batch: pa.RecordBatch) -> NDArray[np.float64]:
        """What the bundle could learn, too."""
        found = label_matrix(batch, tasks)
        times = batch.column(TIME_MS).to_numpy()
        return (found if until is None else known_by(until, found, times, tasks)).astype(np.float64)

    rates.fit(source.records(BATCH_ROWS, since_ms=manifest.since_ms, until_ms=until), labels)
    return rates


def _gather(
    bundle: Bundle,
    encoder: Encoder,
    where: str,
    batches: Iterator[pa.RecordBatch],
    baseline: SmoothedRates | None,
    progress: Progress,
    *,
    live: bool,
) -> _Rows | None:
    viewers, labels, predictions, scores = [], [], [], []
    last_ms = judged = 0
    for batch in batches:
        last_ms = batch.column(TIME_MS)[-1].as_py()
        with located(where, judged), torch.inference_mode():
            labels.append(label_matrix(batch, bundle.spec.feedback))
            encoded = encoder.encode_examples(batch, labels=labels[-1] if live else None)
            output = bundle.model(encoded.to(bundle.model.device))
        judged += batch.num_rows
        progress.update(judged, last_ms)
        predictions.append(natural_units(output, bundle.spec.tasks))
        viewers.append(batch.column(USER_ID).cast(pa.large_string()))
        if baseline is not None:
            scores.append(baseline.score(batch))
    if not viewers:
        return None
    return _Rows(
        last_ms,
        viewer_numbers(pa.concat_arrays(viewers)),
        np.concatenate(labels),
        np.concatenate(predictions),
        np.concatenate(scores) if scores else None,
    )


def viewer_numbers(viewers: pa.Array) -> NDArray[np.int64]:
    """Number the viewers of rows.

    Args:
        viewers: N ids as text, null where the viewer is unknown.

    Returns:
        (N,) numbers in the order of the ids. Rows without an id have one each: nothing says that they are of
        one viewer.
    """
    ids = viewers.dictionary_encode()
    numbers = pc.rank(ids.dictionary).take(ids.indices)
    unknown = numbers.is_null().to_numpy(zero_copy_only=False)
    found: NDArray[np.int64] = numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    found[unknown] = len(ids.dictionary) + 1 + np.arange(unknown.sum())
    return found


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
