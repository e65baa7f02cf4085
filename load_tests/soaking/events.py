"""The events of a soak: hot swaps, newer states, failures of registry and Redis, writes, odd clients."""

import http.client
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

from load_tests.environment import ROOT
from load_tests.ranking.process import Running
from load_tests.ranking.world import World
from load_tests.soaking.bundles import Files, write_damaged
from load_tests.soaking.faults import bodies, heads, registry_hung, trailers, undecodable
from load_tests.soaking.redis_server import RedisServer
from load_tests.soaking.stream import Ranked, Stream
from ranker.bundles.registry import Registry

AWAY_S: Final = 3.0
"""Time for which Redis is down or hangs."""
REFUSED_S: Final = 5.0
"""Time for which the damaged bundle is the current one."""
TAKE_UP_TIMEOUT_S: Final = 60.0
"""Time after which a swap or a newer state has failed."""
WRITE_EVERY_S: Final = 0.2
PROBE: Final = "soak-probe"
"""Id of a video that is in no request of the load."""
WRITE_TIMEOUT_S: Final = 5.0
STORE_AWAY: Final = 503

SCHEDULE: Final = (
    "swap",
    "state",
    "bodies",
    "swap",
    "deleted",
    "write",
    "swap",
    "redis_killed",
    "trailers",
    "swap",
    "heads",
    "damaged",
    "swap",
    "state",
    "load",
    "registry_hung",
    "swap_other_records",
    "swap_undecodable",
    "write",
    "redis_paused",
    "swap",
    "redis_emptied",
    "state",
    *(["swap"] * 2),
    "bodies",
    "swap",
    "write",
    "deleted",
    "swap",
    "trailers",
    "swap",
    "state",
    "swap",
    "heads",
    *(["swap"] * 2),
    "bodies",
    *(["swap"] * 2),
    "deleted",
    "swap",
    "write",
    "swap",
    "state",
    "swap",
)
"""Everything happens once in the first half: what takes memory only the first time is told from growth."""


@dataclass
class Event:
    """An event that was played.

    Attributes:
        what: An item of `SCHEDULE`.
        at: `monotonic()` at its beginning.
        until: `monotonic()` at its end, when Redis answers again, the new version or state ranks, or all
            features are loaded.
        version: The bundle that was made current; None for none.
        part: The last part of the stream that the new state has seen; None for no new state.
        seconds: Time until a new version or state ranked, or a write was visible; None for other events.
        failed: The error; None for none.
    """

    what: str
    at: float
    until: float = 0.0
    version: str | None = None
    part: int | None = None
    seconds: float | None = None
    failed: str | None = None


@dataclass
class Stage:
    """Plays the events and records them.

    Attributes:
        world: The world with the registry.
        stream: The log of the newer states.
        specs: Files of the specs with the two layouts of records.
        store: The service's Redis.
        first: The version that ranks at the start.
        other: The published version with other records.
        fresh: Versions and files of bundles that the swaps publish.
        damaged: Version and files of the bundle that is damaged.
        events: The events so far.
        writes: Number of PUTs of `keep_writing` by status.
    """

    world: World
    stream: Stream
    specs: Sequence[Path]
    store: RedisServer
    first: str
    other: str
    fresh: Sequence[tuple[str, Files]]
    damaged: tuple[str, Files]
    events: list[Event] = field(default_factory=list)
    writes: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._registry = Registry(str(self.world.registry))
        self._unpublished = dict(self.fresh)
        self._next = cycle([*self._unpublished, self.first])
        self._parts = count(1)
        self._views = 0

    def play(self, service: Running, start: float, seconds: float) -> None:
        """Play all events against a service, spread evenly over some seconds."""
        self._ask = partial(_ask, service.url)
        do: dict[str, Callable[[Event], None]] = {
            "swap": lambda event: self._swap(event, next(self._next)),
            "swap_other_records": lambda event: self._swap(event, self.other),
            "state": self._state,
            "damaged": self._damaged,
            "redis_killed": self._redis_killed,
            "redis_paused": self._redis_paused,
            "redis_emptied": self._redis_emptied,
            "registry_hung": lambda _: registry_hung(self.world.registry, REFUSED_S),
            "swap_undecodable": self._undecodable,
            "trailers": lambda _: trailers(service, AWAY_S),
            "heads": lambda _: heads(service, AWAY_S),
            "bodies": lambda _: bodies(service),
            "deleted": self._deleted,
            "write": self._write,
            "load": lambda _: self.load_features("--restart"),
        }
        for index, what in enumerate(SCHEDULE):
            due = start + seconds * (0.06 + 0.9 * index / len(SCHEDULE))
            time.sleep(max(0.0, due - time.monotonic()))
            event = Event(what, time.monotonic())
            try:
                do[what](event)
            except (OSError, subprocess.SubprocessError, TimeoutError, ValueError) as error:
                event.failed = repr(error)
            event.until = event.until or time.monotonic()
            self.events.append(event)
            print(_line(event, start), flush=True)

    def load_features(self, *flags: str) -> None:
        """Load all features in both layouts, with `watchnext features load`."""
        for spec in self.specs:
            options = ["--spec", str(spec), "--data", str(self.world.folder / "data")]
            command = [sys.executable, "-m", "watchnext", "features", "load", *options]
            command += ["--redis-url", self.store.url, *flags]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def keep_writing(self, service: Running, over: threading.Event) -> None:
        """PUT records with their stored values, one after the other, until `over` is set."""
        number = 0
        while not over.wait(WRITE_EVERY_S):
            number += 1
            kind, rows = ("videos", self.world.videos) if number % 2 else ("users", self.world.users)
            row = dict(rows[number * 7 % len(rows)])
            body = {"id": row.pop(f"{kind[:-1]}_id"), "features": row}
            try:
                self.writes[_ask(service.url, "PUT", f"/v1/{kind}", body)[0]] += 1
            except (OSError, http.client.HTTPException):
                self.writes[0] += 1

    def _swap(self, event: Event, version: str) -> None:
        event.version = version
        if version in self._unpublished:
            self._registry.add(self._unpublished.pop(version))
        self._registry.make_current(version)
        event.at = time.monotonic()
        event.seconds = self._wait_for("model_version", version)

    def _state(self, event: Event) -> None:
        event.part = next(self._parts)
        self.stream.store(event.part, self.store.url)
        event.seconds = self._wait_for("state_watermark_ms", self.stream.watermark_ms(event.part))

    def _wait_for(self, name: str, expected: Any) -> float:
        """Wait until `GET /v1/model` has a value, and return how many seconds that took."""
        begun = time.monotonic()
        while (found := json.loads(self._ask("GET", "/v1/model")[1])[name]) != expected:
            if time.monotonic() - begun > TAKE_UP_TIMEOUT_S:
                raise TimeoutError(
                    f"{name}: expected {expected} within {TAKE_UP_TIMEOUT_S:.0f} s, found {found}"
                )
            time.sleep(0.05)
        return time.monotonic() - begun

    def _damaged(self, event: Event) -> None:
        before = self._registry.current()
        event.version = self.damaged[0]
        write_damaged(self.world, *self.damaged)
        self._registry.make_current(event.version)
        time.sleep(REFUSED_S)
        self._registry.make_current(before)

    def _deleted(self, _: Event) -> None:
        """Delete a viewer that nobody asks for, and a video that is in no request of the load."""
        for path in (f"/v1/users/{PROBE}", f"/v1/videos/{PROBE}"):
            status, _content = self._ask("DELETE", path)
            if status != 204:
                raise ValueError(f"{path}: expected status 204, found {status}")

    def _undecodable(self, event: Event) -> None:
        with undecodable(self.store.url):
            self._swap(event, next(self._next))

    def _redis_killed(self, event: Event) -> None:
        self.store.kill()
        time.sleep(AWAY_S)
        event.until = self.store.start()

    def _redis_paused(self, event: Event) -> None:
        self.store.pause()
        time.sleep(AWAY_S)
        event.until = self.store.resume()

    def _redis_emptied(self, event: Event) -> None:
        self.store.kill()
        self.store.forget()
        event.until = self.store.start()
        self.load_features()

    def _write(self, event: Event) -> None:
        """Change a video, and wait until rankings change."""
        before = self._probe()
        self._views += 1
        features = {"duration_s": 10.0 * self._views, "topic": f"topic-{self._views}", "views": 1e5}
        status, content = self._ask("PUT", "/v1/videos", {"id": PROBE, "features": features})
        if status != 204:
            raise ValueError(f"expected status 204, found {status}: {content[:200]!r}")
        stored = time.monotonic()
        while self._probe() == before:
            if time.monotonic() - stored > WRITE_TIMEOUT_S:
                raise TimeoutError(f"expected a changed video to be ranked so within {WRITE_TIMEOUT_S:.0f} s")
        event.seconds = time.monotonic() - stored

    def _probe(self) -> Any:
        body = {"user": {"id": "0"}, "candidates": [{"id": PROBE}], "time_ms": self.stream.request_ms}
        return json.loads(self._ask("POST", "/v1/rank", body)[1])["items"][0]["predictions"]


def ranked(events: Sequence[Event]) -> list[Ranked]:
    """Return when each state may have been ranked with, beginning with the bundles' own state."""
    new = [event for event in events if event.part is not None]
    ends = [*(event.until for event in new), math.inf]
    return [
        Ranked(0, -math.inf, ends[0]),
        *(Ranked(event.part or 0, event.at, end) for event, end in zip(new, ends[1:], strict=True)),
    ]


def _ask(url: str, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _line(event: Event, start: float) -> str:
    took = "" if event.seconds is None else f", {event.seconds:.2f} s"
    failed = "" if event.failed is None else f" FAILED: {event.failed}"
    which = event.version or (f"of {event.part} parts" if event.part else "")
    return f"{event.at - start:7.1f} s  {event.what} {which}{took}{failed}"
