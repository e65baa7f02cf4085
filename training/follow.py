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
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError, CheckpointError, FileError, RegistryError
from ranker.spec import RankerSpec
from ranker.stream.joiner import Clock
from training.archive import offset_after
from training.event_reader import EventReader
from training.gate.judge import judge, summary
from training.gate.window import Window
from training.loop import Every, TrainingLoop
from training.publish import publish, version_of
from training.run import RunConfig, RunResult, learn, prepared, started
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
            window = Window.of(spec.training.gate)
            try:
                loop = started(run, anew="train --follow --restart", window=window)
            except CheckpointError:
                reader.withdraw()
                raise
            reader.goes_on(source.needed(loop.offset))
            publisher = Publisher(run, source, loop, window, registry, config.publish_every_ms)
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

    So what is published depends on the rows alone. A bundle that is surely worse than the one that ranks is
    held back: it is in the registry, with the reasons, but does not become current. One that cannot be
    published, such as one whose numbers are not plausible, is said in the log, and the next one is tried in
    its time.

    Args:
        run: The run.
        source: What it learns from; while that is a log at rest, nothing is published.
        loop: Where it stands.
        window: Its newest rows, on which bundles are compared.
        registry: Where to publish.
        every_ms: The interval.
    """

    def __init__(
        self,
        run: RunConfig,
        source: LiveSource | ChainedSource,
        loop: TrainingLoop,
        window: Window,
        registry: Registry,
        every_ms: int,
    ) -> None:
        self._run = run
        self._source = source
        self._loop = loop
        self._window = window
        self._registry = registry
        self._every_ms = every_ms
        self._interval = self._reached()
        self._may_be_there = True  # an earlier process may have come further than its checkpoint
        self._newest: _Exported | None = None

    def after_step(self) -> None:
        """Publish if an interval is over."""
        before, self._interval = self._interval, self._reached()
        if before is not None and self._interval is not None and self._interval > before:
            self.publish()

    def publish(self) -> None:
        """Publish what was learned, if anything is new."""
        rows = self._loop.trainer.rows
        try:
            if rows:
                self._export()
        except (BundleError, RegistryError, FileError) as error:
            logger.error("nothing was published after %d rows: %s", rows, error)

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
        newest, new_rows = self._export(), trainer.rows - known_rows
        is_new = not newest.held_back and (not newest.was_there or new_rows > 0)
        return RunResult(newest.version, trainer, new_rows, published=is_new, held_back=newest.held_back)

    def _export(self) -> "_Exported":
        """Publish or hold back what was learned; nothing is done twice.

        Raises:
            BundleError: It cannot be published.
            RegistryError: The registry cannot be read or written.
        """
        rows = self._loop.trainer.rows
        if self._newest is None or self._newest.rows != rows:
            self._newest = self._found() or self._fresh()
        return self._newest

    def _found(self) -> "_Exported | None":
        """What an earlier process has done with the same bundle before it was killed; None for nothing."""
        if not self._may_be_there:
            return None
        version = version_of(self._loop, self._run.identity)
        self._may_be_there = version in self._registry.versions()
        if not self._may_be_there:
            return None
        manifest = self._registry.manifest(version)
        was_killed_before = self._registry.current_or_none() == manifest.parent
        if was_killed_before and not manifest.held_back and not self._registry.is_rolled_back_from(version):
            self._registry.make_current(version)
        return _Exported(version, self._loop.trainer.rows, manifest.gate, was_there=True)

    def _fresh(self) -> "_Exported":
        """Compare what was learned with the bundle that ranks, and publish it or hold it back."""
        trainer = self._loop.trainer
        verdict = judge(trainer, self._window, self._registry)
        version = publish(self._loop, self._registry, self._run.identity, verdict)
        if verdict.passed:
            logger.info("published %s after %d rows; %s", version, trainer.rows, summary(verdict))
        else:
            logger.warning(
                "HELD BACK %s after %d rows, %s goes on: %s (%s)",
                version,
                trainer.rows,
                verdict.compared_with,
                "; ".join(verdict.reasons),
                summary(verdict),
            )
        return _Exported(version, trainer.rows, verdict)

    def _reached(self) -> int | None:
        """The number of the interval that event time is in; None before the log of events is read."""
        reached_ms = self._source.reached_ms(self._loop.reached or self._loop.offset)
        return None if reached_ms is None else reached_ms // self._every_ms


@dataclass(frozen=True)
class _Exported:
    """A bundle that was published or held back.

    Attributes:
        version: Its name.
        rows: What the run had learned then.
        verdict: Of the gate; None if it was not asked.
        was_there: Whether an earlier process has done it.
    """

    version: str
    rows: int
    verdict: Verdict | None
    was_there: bool = False

    @property
    def held_back(self) -> tuple[str, ...]:
        """Why it was held back; nothing if it was not."""
        return () if self.verdict is None else self.verdict.reasons
