"""The whole loop under one supervisor: private Redis, trainer, service and traffic.

They are started in this order, each once the one before it has done what it needs, and stopped in the
opposite one: nobody asks any more, then what was shown is written, then it is learned, published and kept.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import FileError, WatchnextError
from ranker.files.lock import locked
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.load_features import load_features
from training.ranked_table import ranked_table
from training.report import METRICS_FILE
from training.service_client import ServiceClient
from training.stopping import StopSignals
from training.up.child import Child, subcommand
from training.up.figures import Watcher
from training.up.screen import Screen
from training.up.service import free_port, wait_until_ready
from training.up.traffic import Traffic

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
FIRST_BUNDLE_S: Final = 600.0
POLL_S: Final = 0.1
LOCK: Final = "up.lock"
STOPPING: Final = "\nstopping, in order; once more ends at once\n"


@dataclass(frozen=True)
class UpConfig:
    """The options of `watchnext up`.

    Attributes:
        folder: Everything that is kept is in it; a second call goes on from there.
        traffic: Who uses the service.
        port: Port of the service; 0 for a free one.
    """

    folder: Path
    traffic: Traffic
    port: int = 8000

    @property
    def registry(self) -> Path:
        """The folder where bundles are published."""
        return self.folder / "registry"


def run_up(config: UpConfig, console: Console) -> None:
    """Run the loop until a signal comes.

    Raises:
        UserError: The port is in use, or what is to be learned cannot be read.
        LockedError: Another process runs a loop in this folder.
        WatchnextError: A part did not start.
    """
    port = free_port(config.port)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"{config.folder}: expected a folder that can be written, found: {error.strerror}"
        ) from error
    with (
        locked(config.folder / LOCK, str(config.folder)),
        StopSignals(STOPPING) as stop,
        private_server(config.folder / "home") as redis_url,
    ):
        config.traffic.prepare(console)
        parts = _parts(config, redis_url, port)
        try:
            _run(config, parts, redis_url, f"http://127.0.0.1:{port}", console, stop)
        finally:
            _stop(parts, console)


def _run(
    config: UpConfig,
    parts: list[Child],
    redis_url: str,
    url: str,
    console: Console,
    stop: StopSignals,
) -> None:
    trainer, service, traffic = parts
    spec, registry = load_spec(config.traffic.spec), Registry(str(config.registry))
    with connect(redis_url) as client:
        trainer.start()
        load_features(client, spec, config.traffic.opened, console)
        wait_for_bundle(trainer, registry, console, stop)
        service.start()
        wait_until_ready(service, url, stop.asked)
        if stop.asked():
            return
        _show_ranking(config, url, console)
        console.print(
            f"how it stands: watchnext status --home {config.folder / 'home'} --registry {config.registry}",
            markup=False,
            soft_wrap=True,
        )
        traffic.start()
        metrics = config.registry / "runs" / spec.name / METRICS_FILE
        watcher = Watcher(url, client, registry, spec.name, metrics)
        with Screen(console, url, parts) as screen:
            while not _waited(LOOK_S, stop):
                for child in parts:
                    child.look_after()
                screen.update(watcher.figures(), config.traffic.status())


def _parts(config: UpConfig, redis_url: str, port: int) -> list[Child]:
    """Trainer, service and traffic, in the order in which they are started."""
    where = ["--registry", str(config.registry), "--redis-url", redis_url]
    traffic, follow = config.traffic, ["--spec", config.traffic.spec]
    follow += [part for option in traffic.follow.items() for part in option]
    serve = ["--impressions", "sync", *traffic.serve, "--port", str(port)]
    logs = config.folder
    return [
        Child(
            "trainer",
            subcommand("train", "--follow", *where, *follow),
            logs / "trainer.log",
            patience_s=60.0,
        ),
        Child("service", subcommand("serve", *where, *serve), logs / "service.log"),
        Child(
            config.traffic.name,
            subcommand(*config.traffic.arguments(f"http://127.0.0.1:{port}")),
            logs / f"{config.traffic.name}.log",
            ends=config.traffic.ends,
        ),
    ]


def wait_for_bundle(trainer: Child, registry: Registry, console: Console, stop: StopSignals) -> None:
    """Wait until the trainer has published what it has learned of the log at rest.

    Args:
        trainer: Its process.
        registry: Where it publishes.
        console: Where it is said that this takes a while.
        stop: Ends the waiting.

    Raises:
        WatchnextError: The trainer ended, or published nothing in time.
    """
    if registry.current_or_none() is None:
        console.print("the trainer learns the log, in temporal order", highlight=False)
    deadline = time.monotonic() + FIRST_BUNDLE_S
    while registry.current_or_none() is None and not stop.asked():
        if trainer.status is not None or time.monotonic() > deadline:
            raise WatchnextError(
                f"the trainer published nothing; it said: {trainer.said or 'nothing'} (all in {trainer.log})"
            )
        time.sleep(POLL_S)


def _show_ranking(config: UpConfig, url: str, console: Console) -> None:
    """Show a first ranking."""
    client, body = ServiceClient(url), config.traffic.example()
    try:
        console.print(ranked_table(body, client.call("POST", "/v1/rank", body)))
    finally:
        client.close()


def _waited(seconds: float, stop: StopSignals) -> bool:
    """Wait; say whether a signal came meanwhile."""
    until_s = time.monotonic() + seconds
    while not stop.asked() and time.monotonic() < until_s:
        time.sleep(POLL_S)
    return stop.asked()


def _stop(parts: list[Child], console: Console) -> None:
    """Stop what was started, last first."""
    for child in reversed(parts):
        if child.pid is not None:
            console.print(f"stopping the {child.name}", highlight=False)
            child.stop()
