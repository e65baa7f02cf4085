"""From a trainer that never ends to bundles: when one is published, and which ones are held back."""

import logging
from dataclasses import dataclass
from typing import Any

from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError, FileError, RegistryError
from ranker.event_times import time_text
from training.gate.judge import judge, summary
from training.gate.window import Window
from training.loop import TrainingLoop
from training.publish import publish, version_of
from training.run import RunConfig, RunResult
from training.sources.chained import ChainedSource
from training.sources.live import LiveSource

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """A bundle that was published or held back.

    Attributes:
        version: Its name.
        rows: What the run had learned then.
        watermark_ms: Event time of the newest example that it has learned.
        verdict: Of the gate; None if it was not asked.
        was_there: Whether an earlier process has done it.
    """

    version: str
    rows: int
    watermark_ms: int | None
    verdict: Verdict | None
    was_there: bool = False

    @property
    def held_back(self) -> tuple[str, ...]:
        """Why it was held back; nothing if it was not."""
        return () if self.verdict is None else self.verdict.reasons


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

    Attributes:
        published: The newest bundle that ranks or has ranked; None before the first.
        held_back: The newest that was held back since; None for none.
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
        self._newest: Exported | None = None
        self.published: Exported | None = None
        self.held_back: Exported | None = None

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

    def export_now(self) -> dict[str, Any]:
        """Publish what was learned because somebody asks for it, and say what became of it."""
        trainer = self._loop.trainer
        if not trainer.rows:
            return {"error": "expected rows to have been learned, found none yet"}
        try:
            if (newest_ms := self._behind()) is not None:
                return {
                    "error": f"expected to have learned as much as the bundle that ranks, which is up to "
                    f"{time_text(newest_ms)}, found {time_text(trainer.watermark_ms or 0)}; it is catching up"
                }
            before, exported = self._newest, self._export()
        except (BundleError, RegistryError, FileError) as error:
            return {"error": f"nothing was published after {trainer.rows} rows: {error}"}
        return {
            "model_version": exported.version,
            "rows": exported.rows,
            "held_back": list(exported.held_back),
            "is_new": exported is not before and not exported.was_there,
        }

    def _behind(self) -> int | None:
        """Event time up to which the bundle that ranks has learned, if that is later; None if it is not.

        A trainer that was killed learns again what came after its checkpoint, which an earlier process may
        have published.
        """
        version = self._registry.current_or_none()
        manifest = None if version is None else self._registry.manifest(version)
        if manifest is None or manifest.name != self._run.spec.name or manifest.watermark_ms is None:
            return None
        learned_ms = self._loop.trainer.watermark_ms
        return None if learned_ms is None or learned_ms >= manifest.watermark_ms else manifest.watermark_ms

    def at_end(self, known_rows: int) -> RunResult | None:
        """Publish what was learned and not published yet, unless an earlier process had come further.

        Args:
            known_rows: Rows that had been learned when the run began or went on.

        Returns:
            The newest version; None if nothing was learned.
        """
        trainer = self._loop.trainer
        if not trainer.rows:
            return None
        new_rows = trainer.rows - known_rows
        if self._behind() is not None:
            return RunResult(self._registry.current(), trainer, new_rows, published=False)
        newest = self._export()
        is_new = not newest.held_back and (not newest.was_there or new_rows > 0)
        return RunResult(newest.version, trainer, new_rows, published=is_new, held_back=newest.held_back)

    def _export(self) -> Exported:
        """Publish or hold back what was learned; nothing is done twice.

        Raises:
            BundleError: It cannot be published.
            RegistryError: The registry cannot be read or written.
        """
        rows = self._loop.trainer.rows
        if self._newest is None or self._newest.rows != rows:
            self._newest = self._found() or self._fresh()
            if self._newest.held_back:
                self.held_back = self._newest
            else:
                self.published, self.held_back = self._newest, None
        return self._newest

    def _found(self) -> Exported | None:
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
        return Exported(version, manifest.rows, manifest.watermark_ms, manifest.gate, was_there=True)

    def _fresh(self) -> Exported:
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
        return Exported(version, trainer.rows, trainer.watermark_ms, verdict)

    def _reached(self) -> int | None:
        """The number of the interval that event time is in; None before the log of events is read."""
        reached_ms = self._source.reached_ms(self._loop.reached or self._loop.offset)
        return None if reached_ms is None else reached_ms // self._every_ms
