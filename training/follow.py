"""Training that follows the log of events: it learns what becomes due, publishes now and then, and goes on.

It goes on from its checkpoint whenever it is started, so a kill at any moment costs nothing but the time to
learn again what came after the checkpoint. Weights, checkpoints and published bundles are those of a trainer
that was never killed, as batches depend on the log alone.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import redis
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import BundleError, CheckpointError, FileError, RegistryError
from ranker.spec import RankerSpec
from ranker.stream.joiner import Clock
from training.archive import offset_after
from training.event_reader import EventReader
from training.loop import Every, TrainingLoop
from training.publish import publish, version_of
from training.run import RunConfig, RunResult, learn, prepared, published, started
from training.sources.base import Source
from training.sources.chained import ChainedSource
from training.sources.live import LiveSource
from training.stopping import StopSignals

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FollowConfig:
    """What to follow, and where to put what is learned.

    Attributes:
        spec: The ranker; its name is the reader's name in the log of events.
        client: Of the Redis that has the log; its answers are bytes.
        registry: Folder or fsspec URL where bundles are published.
        at_rest: Opens a log that is learned before; None for none.
        since_ms: First event time to learn from; None for the first.
        restart: Begin anew instead of going on from the checkpoint.
        wait_s: How long an impression waits for feedback at least.
        clock: By which time it waits.
        publish_every_ms: Event time between two bundles.
        checkpoint_every_s: Time between two checkpoints, if `checkpoint_rows` do not come before.
        flush_s: Event time after which a batch is learned although it is not full.
        seed: Of initial weights and dropout.
        device: auto, cpu or cuda.
    """

    spec: RankerSpec
    client: redis.Redis
    registry: str
    at_rest: Callable[[], Source] | None = None
    since_ms: int | None = None
    restart: bool = False
    wait_s: float = 60.0
    clock: Clock = Clock.ARRIVAL
    publish_every_ms: int = 600_000
    checkpoint_every_s: float = 60.0
    flush_s: float = 60.0
    seed: int = 0
    device: str = "auto"


def follow(
    config: FollowConfig, console: Console, *, stop: StopSignals, live: bool = True
) -> RunResult | None:
    """Learn until a signal comes; then write a checkpoint, and publish if something is new.

    Args:
        config: What to follow.
        console: Where progress is shown.
        stop: The signals.
        live: Whether to show a table of progress, if the console is a terminal; elsewhere the log says it.

    Returns:
        What was learned; None if there was nothing.

    Raises:
        SourceError: The log at rest lacks what the spec needs, or no longer begins with what was learned.
        RegistryError: The registry or the run's folder cannot be written.
        LockedError: Another process trains in the run's folder.
        CheckpointError: The checkpoint is damaged or of another run.
        FileError: A checkpoint or the metrics cannot be written, such as on a full disk.
        EventLogError: The log of events lacks what is needed to go on.
        StoreError: Redis does not answer at the beginning.
        NonFiniteLossError: The loss became infinite or NaN; the last good checkpoint stays.
    """
    spec = config.spec
    reader = EventReader(config.client, spec.name)  # before the log at rest is opened: no gap comes between
    with stop:
        events = LiveSource(
            spec,
            config.client,
            wait_s=config.wait_s,
            stop=stop.asked,
            flush_s=config.flush_s,
            clock=config.clock,
        )
        source: LiveSource | ChainedSource = events
        if config.at_rest is not None:
            at_rest = config.at_rest()
            source = ChainedSource(at_rest, events, begin=offset_after(at_rest))
        run = RunConfig(
            spec=spec,
            source=source,
            registry=config.registry,
            since_ms=config.since_ms,
            resume=not config.restart,
            seed=config.seed,
            device=config.device,
        )
        with prepared(run) as registry:
            try:
                loop = started(run, anew="train --follow --restart")
            except CheckpointError:
                reader.withdraw()
                raise
            reader.goes_on(source.needed(loop.offset))
            publisher = Publisher(run, source, loop, registry, config.publish_every_ms)
            if isinstance(source, ChainedSource):
                source.between = publisher.publish
            known_rows = loop.trainer.rows
            learn(
                run,
                loop,
                source.batches(spec.training.batch_size, since_ms=run.since_ms, resume_from=loop.offset),
                console,
                live=live,
                stop=stop.asked,
                actions=[Every(publisher.after_step, rows=0)],
                checkpoint_s=config.checkpoint_every_s,
                saved=lambda: reader.done(
                    source.needed(loop.offset), source.reached_ms(loop.reached or loop.offset)
                ),
            )
            return publisher.at_end(known_rows)


class Publisher:
    """Publishes what a loop has learned whenever event time passes a multiple of an interval.

    So what is published depends on the rows alone. A bundle that cannot be published, such as one whose
    numbers are not plausible, is said in the log, and the next one is tried in its time.

    Args:
        run: The run.
        source: What it learns from; while that is a log at rest, nothing is published.
        loop: Where it stands.
        registry: Where to publish.
        every_ms: The interval.
    """

    def __init__(
        self,
        run: RunConfig,
        source: LiveSource | ChainedSource,
        loop: TrainingLoop,
        registry: Registry,
        every_ms: int,
    ) -> None:
        self._run = run
        self._source = source
        self._loop = loop
        self._registry = registry
        self._every_ms = every_ms
        self._interval = self._reached()
        self._known_rows: int | None = None  # after so many, an earlier process has published
        self._published: tuple[str, int] | None = None  # the newest version, and the rows that it has learned

    def after_step(self) -> None:
        """Publish if an interval is over."""
        before, self._interval = self._interval, self._reached()
        if before is not None and self._interval is not None and self._interval > before:
            self.publish()

    def publish(self) -> None:
        """Publish what was learned, if anything is new."""
        rows = self._loop.trainer.rows
        if not rows or rows == self._known_rows or (self._published or ("", 0))[1] == rows:
            return
        try:
            if self._published is None and self._is_in_registry():
                self._known_rows = rows
                return
            version = publish(self._loop, self._registry, self._run.identity)
        except (BundleError, RegistryError, FileError) as error:
            logger.error("nothing was published after %d rows: %s", rows, error)
            return
        self._published = version, rows
        logger.info("published %s after %d rows", version, rows)

    def _is_in_registry(self) -> bool:
        """Whether what was learned was published before the trainer was started again."""
        return version_of(self._loop, self._run.identity) in self._registry.versions()

    def at_end(self, known_rows: int) -> RunResult | None:
        """Publish what was learned and not published yet.

        Args:
            known_rows: Rows that had been learned when the run began or went on.

        Returns:
            The newest version; None if nothing was learned.
        """
        trainer = self._loop.trainer
        if not trainer.rows:
            return None
        if self._published is not None and self._published[1] == trainer.rows:
            return RunResult(self._published[0], trainer, trainer.rows - known_rows, published=True)
        return published(self._run, self._loop, self._registry, known_rows)

    def _reached(self) -> int | None:
        """The number of the interval that event time is in; None before the log of events is read."""
        reached_ms = self._source.reached_ms(self._loop.reached or self._loop.offset)
        return None if reached_ms is None else reached_ms // self._every_ms
