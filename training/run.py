"""A run: one pass over a source in temporal order, with checkpoints, ending in a published bundle."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console

from ranker.bundles.registry import Registry, is_local
from ranker.device import choose_device, fast_bfloat16
from ranker.errors import RegistryError, SourceError
from ranker.spec import RankerSpec
from training.checkpoint import RunIdentity, restore, save
from training.located import located
from training.loop import Every, TrainingLoop
from training.progress import REFRESH_S, event_span
from training.publish import publish
from training.report import Report
from training.sources.base import Source, SourceBatch
from training.trainer import Trainer

logger = logging.getLogger(__name__)
CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class RunConfig:
    """What to train, on what, and where to put it.

    Attributes:
        spec: The ranker.
        source: The log to learn from.
        registry: Folder or fsspec URL where the bundle is published.
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

    @property
    def identity(self) -> RunIdentity:
        """What a checkpoint must agree with for the run to go on from it."""
        return RunIdentity.of(
            self.spec,
            source=self.source.name,
            since_ms=self.since_ms,
            until_ms=self.until_ms,
            seed=self.seed,
        )


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
        live: Whether to show a table of progress, if the console is a terminal; elsewhere the log says it.

    Raises:
        SourceError: The source lacks what the spec needs, has no rows within the bounds, or no longer begins
            with what the checkpoint has learned.
        RegistryError: The run's folder cannot be written.
        CheckpointError: The checkpoint to resume from is damaged or of another run.
        NonFiniteLossError: The loss became infinite or NaN; the last good checkpoint stays.
    """
    spec, identity = config.spec, config.identity
    spec.check_schema(config.source.schema, where=config.source.name)
    device = choose_device(config.device)
    trainer = Trainer(spec, seed=config.seed, device=device, bfloat16=fast_bfloat16(device))
    loop = TrainingLoop(trainer)
    path = config.folder / CHECKPOINT_FILE
    if config.resume and path.exists():
        restore(path, loop, identity)
        logger.info("resumed %s after %d rows", path, trainer.rows)
    batches = _batches(config, loop)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"{config.folder}: expected a folder to write to, found: {error}") from error
    span = partial(event_span, config.source, config.since_ms, config.until_ms)
    with Report(config.folder, trainer, console, live=live, span=span) as report:

        def checkpoint() -> None:
            report.write()
            save(path, loop, identity)

        with located(config.source.name, lambda: trainer.rows):
            loop.run(
                batches,
                [
                    Every(report.update, seconds=REFRESH_S),
                    Every(checkpoint, rows=spec.training.checkpoint_rows, at_end=True),
                ],
            )
    return RunResult(publish(loop, Registry(config.registry), identity), trainer)


def _batches(config: RunConfig, loop: TrainingLoop) -> Iterator[SourceBatch]:
    """What the loop has not learned yet; there must be something to learn from, now or before."""
    batches = config.source.batches(
        config.spec.training.batch_size,
        since_ms=config.since_ms,
        until_ms=config.until_ms,
        resume_from=loop.offset,
    )
    first = next(batches, None)
    if first is not None:
        return chain([first], batches)
    if not loop.trainer.rows:
        raise SourceError(f"{config.source.name}: expected examples within --since and --until, found none")
    return iter(())
