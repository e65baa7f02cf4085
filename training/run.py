"""A run: one pass over a source in temporal order, with checkpoints, ending in a published bundle."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.device import choose_device, fast_bfloat16
from ranker.errors import RegistryError, SourceError, StoppedError
from ranker.event_times import time_text
from ranker.files.location import local_path, locate
from ranker.files.lock import locked
from ranker.files.whole import remove_leftovers
from ranker.spec import RankerSpec
from training.checkpoint import RunIdentity, restore, save
from training.gate.window import Window
from training.located import located
from training.loop import Every, TrainingLoop
from training.progress import event_span
from training.publish import publish, version_of
from training.report import METRICS_FILE, Report
from training.sources.base import Source, SourceBatch
from training.stopping import StopSignals
from training.trainer import Trainer
from training.watch.columns import ColumnHistograms

logger = logging.getLogger(__name__)
CHECKPOINT_FILE = "checkpoint.safetensors"
LOCK_FILE = "run.lock"


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
        base = local_path(self.registry) if locate(self.registry).is_local else Path()
        return base / "runs" / self.spec.name

    @property
    def checkpoint(self) -> Path:
        """The file with the run's newest checkpoint."""
        return self.folder / CHECKPOINT_FILE

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
    """A finished run.

    Attributes:
        model_version: The bundle of what was learned.
        trainer: What has learned.
        new_rows: Examples that this run learned from; `trainer.rows` has those of earlier runs as well.
        published: Whether the bundle was published; otherwise nothing was new and it had been before, or it
            was held back.
        held_back: Why it was held back; nothing if it was not.
    """

    model_version: str
    trainer: Trainer
    new_rows: int
    published: bool
    held_back: tuple[str, ...] = ()


def run(
    config: RunConfig, console: Console, *, live: bool = True, stop: StopSignals | None = None
) -> RunResult:
    """Train and publish.

    What could keep the bundle from being published is tried before the first row is read.

    Args:
        config: The run.
        console: Where progress is shown.
        live: Whether to show a table of progress, if the console is a terminal; elsewhere the log says it.
        stop: Signals that end the run after a step, with a checkpoint; None to leave signals alone.

    Raises:
        SourceError: The source lacks what the spec needs, has no rows within the bounds, or no longer begins
            with what the checkpoint has learned.
        RegistryError: The registry or the run's folder cannot be written.
        LockedError: Another process trains in the run's folder.
        CheckpointError: The checkpoint to resume from is damaged or of another run.
        FileError: A checkpoint or the metrics cannot be written, such as on a full disk.
        StoppedError: A signal came; the checkpoint has everything up to then.
        NonFiniteLossError: The loss became infinite or NaN; the last good checkpoint stays.
    """
    with prepared(config) as registry:
        loop = started(config).loop
        known_rows = loop.trainer.rows
        batches = _batches(config, loop)
        with stop or contextlib.nullcontext() as signals:
            learn(config, loop, batches, console, live=live, stop=signals.asked if signals else lambda: False)
            if signals and signals.number is not None:
                raise StoppedError(
                    f"{config.checkpoint}: stopped by {signal.Signals(signals.number).name} "
                    f"after {loop.trainer.rows:,} rows",
                    signal=signals.number,
                )
        return published(config, loop, registry, known_rows)


@contextmanager
def prepared(config: RunConfig) -> Iterator[Registry]:
    """Hold the run's folder alone, after trying what could keep a bundle from being published.

    Yields:
        The registry, which can be written.

    Raises:
        SourceError: The source lacks what the spec needs, or no file can name it.
        RegistryError: The registry or the run's folder cannot be written.
        LockedError: Another process trains in the run's folder.
    """
    config.spec.check_schema(config.source.schema, where=config.source.name)
    registry, folder = Registry(config.registry), config.folder
    _check_identity(config.identity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(f"{folder}: expected a folder to write to, found: {error.strerror}") from error
    with locked(folder / LOCK_FILE, str(folder)):
        remove_leftovers(config.checkpoint)
        remove_leftovers(folder / METRICS_FILE)
        registry.check_writable()
        yield registry


@dataclass(frozen=True)
class Started:
    """A run that may begin or go on.

    Attributes:
        loop: Where it stands.
        window: Its newest rows.
        histograms: What columns of features held.
    """

    loop: TrainingLoop
    window: Window
    histograms: ColumnHistograms


def started(config: RunConfig, *, anew: str = "train without --resume") -> Started:
    """A fresh loop, or one that stands where the run's checkpoint was written if the run is to be resumed.

    A source that continues another one goes on from a checkpoint of that one, too.

    Args:
        config: The run.
        anew: How to start anew, for messages.

    Raises:
        CheckpointError: The checkpoint is damaged or of another run.
    """
    device = choose_device(config.device)
    trainer = Trainer(config.spec, seed=config.seed, device=device, bfloat16=fast_bfloat16(device))
    loop = TrainingLoop(trainer)
    window = Window.of(config.spec.training.gate)
    histograms = ColumnHistograms(trainer.encoder.example_records)
    loop.listeners |= {"gate": window, "columns": histograms}
    if config.resume and config.checkpoint.exists():
        earlier = config.source.continues
        reached = restore(config.checkpoint, loop, config.identity, anew=anew, earlier_source=earlier)
        if reached.source == earlier:
            loop.offset = config.source.offset_of_earlier(
                reached.offset, config.since_ms, trainer.watermark_ms
            )
        logger.info("resumed %s after %d rows", config.checkpoint, trainer.rows)
    return Started(loop, window, histograms)


def learn(
    config: RunConfig,
    loop: TrainingLoop,
    batches: Iterable[SourceBatch],
    console: Console,
    *,
    live: bool,
    stop: Callable[[], bool],
    actions: Sequence[Every] = (),
    checkpoint_s: float | None = None,
    saved: Callable[[], None] = lambda: None,
) -> None:
    """Learn batches to their end, and write checkpoints, the last one at the end.

    Args:
        config: The run.
        loop: Where the run stands.
        batches: What the loop has not learned yet.
        console: Where progress is shown.
        live: Whether to show a table of progress, if the console is a terminal.
        stop: Asked after each step whether it was the last one.
        actions: Done when they are due, before a checkpoint is.
        checkpoint_s: Seconds between two checkpoints, if so many rows do not come before; None for no bound.
        saved: Called when a checkpoint is on the disk.

    Raises:
        FileError: A checkpoint or the metrics cannot be written.
        NonFiniteLossError: The loss became infinite or NaN; the last good checkpoint stays.
    """
    trainer = loop.trainer
    span = partial(event_span, config.source, config.since_ms, config.until_ms)
    with Report(config.folder, trainer, console, live=live, span=span) as report:

        def checkpoint() -> None:
            if trainer.rows:
                report.write()
                save(config.checkpoint, loop, config.identity)
                saved()

        rows = config.spec.training.checkpoint_rows
        with located(config.source.name, lambda: trainer.rows):
            loop.run(
                batches,
                [
                    Every(report.update, rows=1),
                    *actions,
                    Every(checkpoint, rows=rows, seconds=checkpoint_s, at_end=True),
                ],
                stop=stop,
            )


def published(config: RunConfig, loop: TrainingLoop, registry: Registry, known_rows: int) -> RunResult:
    """Publish what a loop has learned, unless nothing is new and it was published before.

    Args:
        config: The run.
        loop: After at least one step.
        registry: Where to.
        known_rows: Rows that had been learned when the run began or went on.
    """
    new_rows = loop.trainer.rows - known_rows
    if not new_rows:
        version = version_of(loop, config.identity)
        if version in registry.versions():
            return RunResult(version, loop.trainer, new_rows, published=False)
    return RunResult(publish(loop, registry, config.identity), loop.trainer, new_rows, published=True)


def _check_identity(identity: RunIdentity) -> None:
    """Refuse a source that no checkpoint and no bundle can name."""
    try:
        identity.model_dump_json()
    except ValueError as error:
        raise SourceError(f"{identity.source!a}: expected the name of a log in UTF-8") from error


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
        span = config.source.time_range()
        found = "" if span is None else f" in a log from {time_text(span[0])} to {time_text(span[1])}"
        raise SourceError(
            f"{config.source.name}: expected examples within --since and --until, and not within --late-by "
            f"of the newest, found none{found}"
        )
    return iter(())
