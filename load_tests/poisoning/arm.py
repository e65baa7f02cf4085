"""One whole loop: a Redis, a service and a trainer of its own, that begin where a log at rest ends."""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import redis
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import WatchnextError
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.load_features import load_features
from training.sources.registry import open_source
from training.up.child import Child, subcommand
from training.up.service import free_port, ready_version, wait_until_ready

SPEC: Final = "simulated_live"
TAKES_S: Final = 60.0
FOLLOW: Final = ("--wait", "5s", "--learn-every", "5s", "--publish-every", "15s", "--checkpoint-every", "10s")
SERVE: Final = ("--impressions", "sync", "--impressions-seen", "shown", "--live-features", "--workers", "1")


@dataclass(frozen=True)
class Arm:
    """What runs.

    Attributes:
        url: Of the service.
        client: Of the Redis.
        registry: Where the trainer publishes.
        service: The process.
        trainer: The process.
    """

    url: str
    client: redis.Redis
    registry: Registry
    service: Child
    trainer: Child

    def end_training(self) -> None:
        """Let the trainer publish what it has learned, and the service take it.

        Raises:
            WatchnextError: The trainer did not end well, or the service does not take its bundle.
        """
        self.trainer.stop()
        if self.trainer.status:
            raise WatchnextError(f"the trainer ended with {self.trainer.status}: {self.trainer.said}")
        deadline = time.monotonic() + TAKES_S
        while ready_version(self.url) != self.registry.current():
            if time.monotonic() > deadline:
                raise WatchnextError(f"the service did not take a bundle; it said: {self.service.said}")
            time.sleep(0.1)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the processes that run, and of Redis."""
        children = (("service", self.service), ("trainer", self.trainer))
        found = {name: _resident_mb(child.pid) for name, child in children if child.pid is not None}
        info: Any = self.client.info("memory")
        return found | {"redis": info["used_memory"] / 1e6}

    def counted_by_service(self) -> dict[str, float]:
        """Events that the service set aside, by reason, of its metrics."""
        name = 'watchnext_events_rejected_total{reason="'
        lines = httpx.get(f"{self.url}/metrics", timeout=30).raise_for_status().text.splitlines()
        found = [line.removeprefix(name).split('"} ') for line in lines if line.startswith(name)]
        return {reason: float(count) for reason, count in found if float(count)}


@contextmanager
def running(folder: Path, log: Path, learned: Path, *, follow: Sequence[str] = FOLLOW) -> Iterator[Arm]:
    """Run a loop.

    Args:
        folder: New; for all that it writes.
        log: The log at rest.
        learned: A registry with a run that has learned the log; it is copied.
        follow: Options of the trainer.
    """
    registry = folder / "registry"
    shutil.copytree(learned, registry)
    with ExitStack() as stack:
        redis_url = stack.enter_context(private_server(folder / "home"))
        client = stack.enter_context(connect(redis_url))
        load_features(client, load_spec(SPEC), open_source(str(log)), Console(quiet=True))
        where = ["--registry", str(registry), "--redis-url", redis_url]
        learn = ["train", "--follow", "--spec", SPEC, "--data", str(log), *where, *follow]
        trainer = Child("trainer", subcommand(*learn), folder / "trainer.log", patience_s=TAKES_S)
        port = free_port(0)
        serve = ["serve", *where, *SERVE, "--port", str(port)]
        service = Child("service", subcommand(*serve), folder / "service.log")
        for child in (trainer, service):
            stack.callback(child.stop)
            child.start()
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(service, url)
        yield Arm(url, client, Registry(str(registry)), service, trainer)


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
