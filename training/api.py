"""Training and evaluation for callers in Python: the commands of the same name, with results as objects."""

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.event_times import TimeRange
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from training.evaluate import EvaluationReport, FeatureMode
from training.evaluate import evaluate as evaluate_bundle
from training.run import RunConfig, RunResult, run
from training.sources.base import Source
from training.sources.registry import open_source


def train(
    spec: str | Path | RankerSpec,
    data: str | Path | Source | None,
    registry: str | Path,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str = "auto",
    plausible_since_ms: int | None = None,
    plausible_until_ms: int | None = None,
) -> RunResult:
    """Train on a log in temporal order and publish the bundle, as `watchnext train` does.

    Args:
        spec: A preset's name, a YAML file, or a spec.
        data: A folder, file, glob or fsspec URL; an opened source; None for the simulated world.
        registry: Folder or fsspec URL to publish the bundle in.
        since_ms: First event time that is included, Unix epoch in milliseconds; None for no bound.
        until_ms: First event time that is excluded; None for no bound.
        resume: Go on from the last checkpoint of this run, if there is one.
        seed: Seed of initial weights and dropout.
        device: auto, cpu or cuda.
        plausible_since_ms: First event time that is plausible; None for the first of 2000. A log with an
            earlier one is refused.
        plausible_until_ms: First event time that is not plausible any more; None for a day from now.

    Returns:
        The version that was published, and the trainer.

    Raises:
        SpecError: The spec has a mistake.
        SourceError: The log is unreadable, has a time that is not plausible, has no rows within the bounds,
            or lacks a column of the spec.
        RegistryError: The registry or the run's folder cannot be written.
        LockedError: Another process trains in the run's folder.
        FileError: A checkpoint or the metrics cannot be written, such as on a full disk.
        CheckpointError: The checkpoint to resume from is damaged or of another run.
        NonFiniteLossError: The loss became infinite or NaN.
    """
    described = spec if isinstance(spec, RankerSpec) else load_spec(str(spec))
    config = RunConfig(
        spec=described,
        source=_opened(data, plausible_since_ms, plausible_until_ms),
        registry=str(registry),
        since_ms=since_ms,
        until_ms=until_ms,
        resume=resume,
        seed=seed,
        device=device,
    )
    return run(config, Console(quiet=True), live=False)


def evaluate(
    registry: str | Path | Registry,
    data: str | Path | Source | None,
    *,
    version: str | None = None,
    plausible_since_ms: int | None = None,
    plausible_until_ms: int | None = None,
    **options: Any,
) -> EvaluationReport:
    """Evaluate a bundle on rows after its training, as `watchnext evaluate` does.

    Args:
        registry: A registry, or its folder or URL.
        data: As for `train`.
        version: The bundle's version; the current one if left out.
        plausible_since_ms: As for `train`.
        plausible_until_ms: As for `train`.
        options: `since_ms`, `until_ms`, `features`, `with_baseline` and `replicates` of
            `training.evaluate.evaluate`.

    Raises:
        RegistryError: There is no such registry or version.
        SourceError: The range has no rows, or overlaps with the training range.
    """
    opened = registry if isinstance(registry, Registry) else Registry(str(registry))
    source = _opened(data, plausible_since_ms, plausible_until_ms)
    return evaluate_bundle(opened.read(version), source, **options)


def _opened(data: str | Path | Source | None, since_ms: int | None, until_ms: int | None) -> Source:
    if isinstance(data, Source):
        return data
    times = TimeRange.plausible(time.time_ns() // 1_000_000, since_ms=since_ms, until_ms=until_ms)
    return open_source(None if data is None else str(data), times=times)


__all__ = ["EvaluationReport", "FeatureMode", "RunResult", "evaluate", "train"]
