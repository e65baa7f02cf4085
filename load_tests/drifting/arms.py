"""Services that rank the same visits: one that follows, and two that stopped when the log at rest ended."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

import numpy as np
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import WatchnextError
from ranker.private_redis.server import private_server
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from training.load_features import load_features
from training.service_client import AwayError, ServiceClient
from training.sources.registry import open_source
from training.stopping import StopSignals
from training.up.child import Child, subcommand
from training.up.run import wait_for_bundle
from training.up.service import free_port, wait_until_ready
from training.up.traffic import SimulatedViewers
from training.viewers.satisfaction import Satisfaction
from training.viewers.visits import Visit

FOLLOWING: Final = "following trainer"
OLD_WEIGHTS: Final = "frozen weights, features follow"
FROZEN: Final = "frozen"
RANDOM: Final = "random order"
ARMS: Final = (FOLLOWING, OLD_WEIGHTS, FROZEN, RANDOM)


class Row(NamedTuple):
    """How satisfying one arm's page of a visit truly is."""

    arm: str
    world_ms: int
    viewer: int
    stars: float
    likes: float


@contextmanager
def running(traffic: SimulatedViewers, console: Console) -> Iterator[dict[str, str]]:
    """Run a trainer and the services of all arms.

    Args:
        traffic: Whose world and log it is.
        console: Where progress is shown.

    Yields:
        The service's URL of each arm that has one.
    """
    folder = traffic.folder
    registry, frozen = folder / "registry", folder / "frozen"
    with private_server(folder / "home") as redis_url, ExitStack() as children:
        store = ["--redis-url", redis_url]
        follow = [part for option in traffic.follow.items() for part in option]
        learn = ["--spec", traffic.spec, "--data", str(traffic.log), "--registry", str(registry), *store]
        trainer = Child(
            "trainer", subcommand("train", "--follow", *learn, *follow), folder / "trainer.log", patience_s=60
        )
        children.callback(trainer.stop)
        trainer.start()
        with connect(redis_url) as client:
            load_features(client, load_spec(traffic.spec), open_source(str(traffic.log)), console)
        wait_for_bundle(trainer, Registry(str(registry)), console, StopSignals())
        shutil.copytree(registry, frozen, ignore=shutil.ignore_patterns("runs"))
        urls: dict[str, str] = {}
        for arm, options in {
            FOLLOWING: [
                *("--registry", str(registry), "--live-features"),
                *("--impressions", "sync", *traffic.serve),
            ],
            OLD_WEIGHTS: ["--registry", str(frozen), "--live-features"],
            FROZEN: ["--registry", str(frozen)],
        }.items():
            port = free_port(0)
            name = arm.replace(" ", "-").replace(",", "")
            service = Child(
                arm, subcommand("serve", *options, *store, "--port", str(port)), folder / f"{name}.log"
            )
            children.callback(service.stop)
            service.start()
            urls[arm] = f"http://127.0.0.1:{port}"
            wait_until_ready(service, urls[arm])
        yield urls


class Beside:
    """Asks the other arms for the same visits, and keeps what is true of every arm's page.

    Args:
        urls: The service of each arm that has one.

    Attributes:
        rows: A row an arm and visit; visits that an arm did not answer are left out of all.
        unanswered: How many these were.
    """

    def __init__(self, urls: dict[str, str]) -> None:
        self.rows: list[Row] = []
        self.unanswered = 0
        self._urls = {arm: url for arm, url in urls.items() if arm != FOLLOWING}
        self._local = threading.local()

    def watch(self, visit: Visit, followed: Satisfaction) -> None:
        """Called with each visit and how satisfying the page of the following arm is."""
        try:
            pages = {arm: self._page(arm, visit) for arm in self._urls}
        except (AwayError, WatchnextError):
            self.unanswered += 1
            return
        pages[RANDOM] = visit.random_page
        found = {arm: Satisfaction.of(visit.truth(page)) for arm, page in pages.items()}
        found[FOLLOWING] = followed
        world_ms, viewer = int(visit.request.time_ms[0]), int(visit.request.viewer[0])
        self.rows += [Row(arm, world_ms, viewer, one.stars, one.likes) for arm, one in found.items()]

    def _page(self, arm: str, visit: Visit) -> np.ndarray:
        clients = self._local.__dict__.setdefault("clients", {})
        if arm not in clients:
            clients[arm] = ServiceClient(self._urls[arm])
        answer = clients[arm].call("POST", "/v1/rank", visit.body)
        return np.array([[int(item["id"]) for item in answer["items"]]])
