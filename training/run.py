"""A run: one pass over a source in temporal order, with checkpoints, ending in a published bundle."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from ranker.bundles.registry import Registry, is_local
from ranker.device import choose_device, fast_bfloat16
from ranker.errors import RegistryError, SourceError
from ranker.spec import RankerSpec
from training import checkpoint
from training.publish import GOLDEN_CANDIDATES, GOLDEN_REQUESTS, publish
from training.report import Report
from training.sources.base import Source
from training.trainer import Trainer

logger = logging.getLogger(__name__)
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class RunConfig:
    """What to train, on what, and where to put it.

    Attributes:
        since_ms: First event time to learn from; None for the source's first.
        until_ms: First event time to leave out; None for none.
        resume: Go on from the run's checkpoint, if there is one.
        seed: Of initial weights and dropout.
        device: auto, cpu or cuda.
    """

    spec: RankerSpec
    source: Source
    registry: str
    since_ms: int | None = None
    until_ms: int | None = None
    resume: bool = False
    seed: int = 0
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """The run's checkpoint and metrics: inside the registry if that is a folder, else in ./runs."""
        base = Path(self.registry.removeprefix("file://")) if is_local(self.registry) else Path()
        return base / "runs" / self.spec.name


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    model_version: str
    trainer: Trainer


def run(config: RunConfig, console: Console, *, live: bool = True) -> RunResult:
    """Train and publish.

    Args:
        config: The run.
        console: Where progress is shown.
        live: Whether to show progress.

    Raises:
        SourceError: The source lacks what the spec needs, or has no rows within the bounds.
        RegistryError: The run's folder cannot be written.
        CheckpointError: The checkpoint to resume from is damaged or of another run.
        NonFiniteLossError: The loss became infinite or NaN; the last good checkpoint stays.
    """
    spec, source = config.spec, config.source
    spec.check_schema(source.schema, where=source.name)
    sample = _sample(config)
    device = choose_device(config.device)
    trainer = Trainer(spec, seed=config.seed, device=device, bfloat16=fast_bfloat16(device))
    position = checkpoint.new_run(
        trainer, source=source.name, since_ms=config.since_ms, until_ms=config.until_ms, seed=config.seed
    )
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"{config.folder}: expected a folder to write to, found: {error}") from error
    path = config.folder / CHECKPOINT_FILE
    if config.resume and path.exists():
        checkpoint.restore(path, trainer, position)
        logger.info("resumed %s after %d rows", path, trainer.rows)
    with Report(config.folder, trainer, console, live=live) as report:
        saved = trainer.rows
        for batch in _batches(config, trainer.rows):
            trainer.step(batch)
            report.update()
            if trainer.rows - saved >= spec.training.checkpoint_rows:
                report.write()
                checkpoint.save(path, trainer, position)
                saved = trainer.rows
        report.write()
        checkpoint.save(path, trainer, position)
    version = publish(trainer, Registry(config.registry), position, sample)
    return RunResult(version, trainer)


def _batches(config: RunConfig, skip_rows: int) -> Iterator[pa.RecordBatch]:
    return config.source.batches(
        config.spec.training.batch_size,
        since_ms=config.since_ms,
        until_ms=config.until_ms,
        skip_rows=skip_rows,
    )


def _sample(config: RunConfig) -> pa.RecordBatch:
    """The run's first rows."""
    rows = GOLDEN_REQUESTS * GOLDEN_CANDIDATES
    for batch in config.source.batches(rows, since_ms=config.since_ms, until_ms=config.until_ms):
        return batch
    raise SourceError(f"{config.source.name}: expected examples within --since and --until, found none")
