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

from ranker.errors import CheckpointError
from ranker.spec import RankerSpec
from ranker.stream.joiner import Clock
from training.archive import offset_after
from training.event_reader import EventReader
from training.export_requests import ExportRequests
from training.loop import Every
from training.progress import duration
from training.publisher import Publisher
from training.run import RunConfig, RunResult, learn, prepared, started
from training.sources.base import Source
from training.sources.chained import ChainedSource
from training.sources.live import LiveSource
from training.stopping import StopSignals
from training.watch.watch import Watch

"""How often watchdogs look, at most."""

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
    _say_who_waits(spec, config.wait_s)
    reader = EventReader(config.client, spec.name)  # before the log at rest is opened: no gap comes between
    exports = ExportRequests(config.client, spec.name)

    watch: Watch | None = None

    def asked_to_stop() -> bool:
        exports.serve()  # here, as this is asked between two steps and while the log is quiet
        if watch is not None:
            watch.look_now_and_then()
        return stop.asked()

    with stop:
        events = LiveSource(
            spec,
            config.client,
            wait_s=config.wait_s,
            stop=asked_to_stop,
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
                begun = started(run, anew="train --follow --restart")
            except CheckpointError:
                reader.withdraw()
                raise
            loop = begun.loop
            reader.goes_on(source.needed(loop.offset))
            publisher = Publisher(run, source, loop, begun.window, registry, config.publish_every_ms)
            watch = Watch(loop.trainer, begun.window, begun.histograms, publisher, config.client, spec.name)
            if isinstance(source, ChainedSource):
                source.between = publisher.publish
            known_rows = loop.trainer.rows
            exports.export = publisher.export_now
            learn(
                run,
                loop,
                source.batches(spec.training.batch_size, since_ms=run.since_ms, resume_from=loop.offset),
                console,
                live=live,
                stop=asked_to_stop,
                actions=[Every(publisher.after_step, rows=0)],
                checkpoint_s=config.checkpoint_every_s,
                saved=lambda: reader.done(
                    source.needed(loop.offset), source.reached_ms(loop.reached or loop.offset)
                ),
            )
            result = publisher.at_end(known_rows)
            watch.look(ended=True)
            return result


def _say_who_waits(spec: RankerSpec, wait_s: float) -> None:
    """Warn of a label that keeps all heads from learning for long."""
    slowest = max(spec.feedback, key=lambda label: label.label_wait)
    if slowest.label_wait > max(wait_s, spec.training.late_after):
        logger.warning(
            "an impression of the log of events is learned after %s, by all heads, as the label '%s' waits "
            "for that; the log has to keep it so long",
            duration(slowest.label_wait),
            slowest.name,
        )
