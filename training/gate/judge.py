"""The gate: whether a new bundle may rank in place of the one that does.

A bundle is held back if it is surely worse on rows that neither had learned when they were predicted, if it
promises far more or less than happens, if the labels of these rows no longer tell what they did, or if its
answers to recent requests have moved far without being surely better.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError
from ranker.features.encoder import Encoder
from ranker.gate_spec import GateSpec
from ranker.labels.head_report import finite
from ranker.labels.label import Task
from ranker.metrics.intervals import MIN_VIEWERS
from ranker.networks.model import RankingModel
from ranker.spec import RankerSpec
from training.gate.heads import HeadComparison, HeadRows
from training.gate.requests import Moved, moved
from training.gate.window import Window, WindowRows
from training.trainer import Trainer

SMALLEST: Final = 1e-9
"""Smaller means count as this."""


def judge(trainer: Trainer, window: Window, registry: Registry) -> Verdict:
    """Compare what a trainer would export with the current bundle of a registry.

    Args:
        trainer: After at least one step; it stays as it is.
        window: Its newest rows.
        registry: Has the bundle that ranks.

    Raises:
        RegistryError: The registry cannot be read.
    """
    bounds, rows = trainer.spec.training.gate, window.rows()
    if not isinstance(bounds, GateSpec):
        return Verdict(compared_with=None, remark="the gate is off")
    try:
        version = registry.current_or_none()
        if version is None:
            return Verdict(compared_with=None, remark="no bundle ranks yet")
        with torch.random.fork_rng(devices=[]):  # reading builds a network; see `publish`
            current = registry.read(version)
    except BundleError as error:
        return Verdict(compared_with=None, remark=f"the bundle that ranks cannot be read: {error}")
    if rows is None or not _alike(trainer.spec, current.spec):
        reason = "it has no rows of this run" if rows is None else "it has other features or tasks"
        return Verdict(compared_with=None, remark=f"{version} cannot be compared: {reason}")
    with trainer.exported():
        current.model.to(trainer.device)
        average = trainer.average
        settled = int(average.steps) * (1 - average.decay) >= 1
        return compare(rows, (trainer.encoder, trainer.model), current, bounds, settled=settled)


def compare(
    rows: WindowRows,
    new: tuple[Encoder, RankingModel],
    current: Bundle,
    bounds: GateSpec,
    *,
    settled: bool,
) -> Verdict:
    """Compare a new model with the bundle that ranks.

    Args:
        rows: The newest rows.
        new: Encoder and model as they would be exported.
        current: The bundle that ranks.
        bounds: What is held back.
        settled: See `HeadComparison`.
    """
    watermark_ms = current.manifest.watermark_ms
    unseen = rows if watermark_ms is None else rows.later_than(watermark_ms)
    before = current.manifest.gate.heads if current.manifest.gate is not None else {}
    by_current = unseen.predicted_by(current.encoder, current.model)
    by_new = unseen.predicted_by(*new)
    heads: dict[str, HeadComparison] = {}
    for index, task in enumerate(current.spec.tasks):
        known = ~np.isnan(unseen.labels[:, index])
        judged = HeadRows(
            unseen.labels[known, index].astype(np.float64),
            unseen.viewers[known],
            by_current[known, index],
            unseen.predictions[known, index],
            by_new[known, index],
        )
        auc_before = before.get(task.name, {}).get("auc_unseen")
        heads[task.name] = HeadComparison(task, judged, bounds, settled=settled, auc_before=auc_before)
    reasons = [reason for head in heads.values() for reason in head.reasons]
    answers = None
    # of fewer viewers, no bundle could be surely better; if nothing is new, nothing should have moved
    if len(np.unique((unseen if len(unseen) else rows).viewers)) >= MIN_VIEWERS:
        answers = moved(rows, new, (current.encoder, current.model))
    worse = any(head.surely_worse for head in heads.values())
    told = [head for task, head in zip(current.spec.tasks, heads.values(), strict=True) if task.learns_mean]
    better = not worse and any(head.surely_better for head in told or heads.values())
    if answers is not None and not better:
        reasons += _moved_too_far(answers, current.spec.tasks, bounds)
    return Verdict(
        reasons=tuple(reasons),
        compared_with=current.manifest.model_version,
        rows=len(unseen),
        viewers=len(np.unique(unseen.viewers)),
        heads={name: head.figures for name, head in heads.items()},
        psi=None if answers is None else finite(answers.psi),
        overlap=None if answers is None else finite(answers.overlap),
    )


def summary(verdict: Verdict) -> str:
    """What was compared, in a line."""
    if verdict.compared_with is None:
        return verdict.remark
    parts = [f"{verdict.rows:,} rows of {verdict.viewers:,} viewers that neither has learned"]
    for name, figures in verdict.heads.items():
        before, now = figures.get("auc_before"), figures.get("auc_unseen")
        if before is not None and now is not None:
            parts.append(f"AUC of {name} {before:.4f} then {now:.4f}")
    if verdict.psi is not None and verdict.overlap is not None:
        parts.append(f"PSI of scores {verdict.psi:.3g}, {verdict.overlap:.0%} of the top 20 kept")
    return ", ".join(parts)


def _moved_too_far(answers: Moved, tasks: Sequence[Task], bounds: GateSpec) -> list[str]:
    """Why answers to recent requests have moved too far."""
    reasons = []
    if answers.psi > bounds.psi:
        reasons.append(
            f"scores: expected a stability index (PSI) of at most {bounds.psi:g} for recent requests, "
            f"found {answers.psi:.3g}"
        )
    if answers.overlap < bounds.overlap:
        reasons.append(
            f"top 20: expected at least {bounds.overlap:.0%} of the videos to stay for recent requests, "
            f"found {answers.overlap:.0%}"
        )
    for task, before, now in zip(tasks, *answers.means, strict=True):
        factor = _odds(now, task) / _odds(before, task)
        if not 1 / bounds.shift <= factor <= bounds.shift:
            reasons.append(
                f"{task.name}: expected a mean prediction for recent requests within a factor "
                f"{bounds.shift:g} of {before:.4g}{' in its odds' if task.is_probability else ''}, "
                f"found {now:.4g}"
            )
    return reasons


def _odds(mean: float, task: Task) -> float:
    """The odds of a mean probability; the mean of another prediction as it is."""
    mean = max(mean, SMALLEST)
    return mean / max(1 - mean, SMALLEST) if task.is_probability else mean


def _alike(ours: RankerSpec, theirs: RankerSpec) -> bool:
    """Whether two specs read the same features and predict the same tasks."""
    return all(
        getattr(ours, part) == getattr(theirs, part) for part in ("features", "tasks", "labels", "hash_seed")
    )
