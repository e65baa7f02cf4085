"""Trainers that follow the log of events in the process of a test, until nothing is left to learn."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.stream.event_log import Entry
from tests.training.live_log import LIVE_SPEC, WAIT_S
from training.checkpoint import _read
from training.follow import FollowConfig, follow
from training.run import CHECKPOINT_FILE, RunResult
from training.sources import live
from training.stopping import StopSignals
from training.trainer import Trainer

PUBLISH_MS = 4_000


class WhenIdle(StopSignals):
    """Stops a trainer that has found nothing to learn twice."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_in_vain = 0

    def asked(self) -> bool:
        self.asked_in_vain += 1
        return self.asked_in_vain > 2 or super().asked()


def config(client: redis.Redis, folder: Path, **other: Any) -> FollowConfig:
    usual: dict[str, Any] = {
        "wait_s": WAIT_S,
        "publish_every_ms": PUBLISH_MS,
        "checkpoint_every_s": 1000.0,
        "flush_s": 2.0,
    }
    return FollowConfig(LIVE_SPEC, client, str(folder), **usual | other)


def start(config: FollowConfig) -> RunResult | None:
    """Follow until there is nothing left to learn."""
    stop = WhenIdle()
    step = Trainer.step

    def working(trainer: Trainer, batch: pa.RecordBatch, **how: bool) -> object:
        stop.asked_in_vain = 0
        return step(trainer, batch, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", working)
        patch.setattr(live, "POLL_S", 0.001)  # no test waits for entries that do not come
        patch.setattr(live, "PAUSE_S", 0.0)
        return follow(config, Console(file=io.StringIO()), stop=stop, live=False)


def kept(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The checkpoint: its rows and watermark, and all tensors."""
    header, tensors = _read(folder / "runs" / "small" / CHECKPOINT_FILE, "")
    reached = json.loads(header["reached"])
    return reached, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def versions(folder: Path) -> list[str]:
    return Registry(str(folder)).versions()


def interrupt(config: FollowConfig, *, after_rows: int) -> None:
    """Follow, and end in the middle as if killed."""
    step = Trainer.step

    def interrupted(trainer: Trainer, batch: pa.RecordBatch, **how: bool) -> object:
        if trainer.rows >= after_rows:
            raise KeyboardInterrupt
        return step(trainer, batch, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(config)


def parts(entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """A log in two parts, with more between them than any feedback waits."""
    middle = len(entries) // 2
    cut = next(at for at in range(middle, len(entries)) if entries[at].id.ms - entries[at - 1].id.ms > 20_000)
    return entries[:cut], entries[cut:]


def idle() -> Callable[[], bool]:
    """Stops a reader once it has read what there is."""
    asked = iter(range(3))
    return lambda: next(asked, None) is None
