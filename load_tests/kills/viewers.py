"""Viewers who ask for rankings and answer: in time, late, doubled; and what they were told."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from load_tests.kills.processes import Victim

SHOWN: Final = 4
CANDIDATES: Final = 10
VIEWERS: Final = 60
VIDEOS: Final = 120
LATE_S: Final = (0.0, 0.0, 0.0, 0.5, 1.5, 2.5, 4.0)
"""How long a viewer takes to answer; the last ones are too late."""
PAUSE_S: Final = 0.01
TIMEOUT_S: Final = 20.0


@dataclass
class Told:
    """What the service has told viewers.

    Attributes:
        shown: Requests whose impression was acknowledged.
        events: Events that were acknowledged: request, video, kind, id, value.
        counts: Answers by what they were.
        failed: What failed though nothing that it needs was killed.
    """

    shown: set[str] = field(default_factory=set)
    events: set[tuple[str, str, str, str, float]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


class Viewer(threading.Thread):
    """Asks one of several services, again if it is not answered, until told to stop.

    Args:
        number: Its own; the seed of what it does.
        services: Ports, and who listens there.
        redis: Without which events are not taken.
        told: What it was told.
        stop: When to stop.
    """

    def __init__(
        self,
        number: int,
        services: list[tuple[int, Victim]],
        redis: Victim,
        told: Told,
        stop: threading.Event,
    ) -> None:
        super().__init__(name=f"viewer-{number}", daemon=True)
        self._draw = random.Random(number)
        self._services = services
        self._redis = redis
        self._told = told
        self._finished = stop
        self._later: list[tuple[float, list[dict[str, Any]]]] = []

    def run(self) -> None:
        """Ask and answer."""
        with httpx.Client(timeout=TIMEOUT_S) as client:
            while not self._finished.is_set():
                self._ask(client)
                now = time.monotonic()
                due = [events for at, events in self._later if at <= now]
                self._later = [(at, events) for at, events in self._later if at > now]
                for events in due:
                    self._send(client, events)
                time.sleep(PAUSE_S)
            for _, events in self._later:
                self._send(client, events)

    def _ask(self, client: httpx.Client) -> None:
        videos = self._draw.sample(range(VIDEOS), CANDIDATES)
        body = {
            "user": {"id": f"u{self._draw.randrange(VIEWERS)}", "features": {"country": "de"}},
            "context": {"hour": self._draw.randrange(24)},
            "candidates": [{"id": f"v{video}", "features": {"tags": [f"t{video % 5}"]}} for video in videos],
            "limit": SHOWN,
        }
        answer = self._post(client, "/v1/rank", body)
        if answer is None:
            return
        if "impressions" in answer["degraded"]:
            self._told.counts["rankings without a promise to keep the impression"] += 1
            return
        self._told.counts["rankings"] += 1
        request = answer["request_id"]
        self._told.shown.add(request)
        for item in answer["items"]:
            events = self._answers(request, item["id"])
            if events:
                self._later.append((time.monotonic() + self._draw.choice(LATE_S), events))

    def _answers(self, request: str, video: str) -> list[dict[str, Any]]:
        """What a viewer does with a video; some of it twice."""
        given: list[dict[str, Any]] = []
        for kind, chance in (("click", 0.4), ("watch_time", 0.3), ("like", 0.2)):
            if self._draw.random() < chance:
                value = round(self._draw.uniform(0, 60), 2) if kind == "watch_time" else 1.0
                name = f"{request}-{video}-{kind}"
                given.append(
                    {"event_id": name, "request_id": request, "video_id": video, "kind": kind, "value": value}
                )
        return given * self._draw.choice((1, 1, 2))

    def _send(self, client: httpx.Client, events: list[dict[str, Any]]) -> None:
        for _ in range(self._draw.choice((1, 1, 1, 2))):  # some calls are doubled, too
            answer = self._post(client, "/v1/events", {"events": events})
            if answer is None:
                return
            self._told.counts["calls with events"] += 1
            if answer["rejected"]:
                self._told.failed.append(f"events were set aside: {answer['rejected'][0]}")
            for event in events:
                self._told.events.add(
                    (event["request_id"], event["video_id"], event["kind"], event["event_id"], event["value"])
                )

    def _post(self, client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
        """Send until it is answered, to whichever service; None once it is too late to go on."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            port, service = self._draw.choice(self._services)
            began = time.monotonic()
            try:
                answer = client.post(f"http://127.0.0.1:{port}{path}", json=body)
            except httpx.HTTPError as error:
                if service.was_down(began, time.monotonic()):
                    self._told.counts["not answered by a killed service"] += 1
                else:
                    self._told.failed.append(f"{path}: {error!r}")
                time.sleep(0.05)
                continue
            if answer.status_code == 200:
                return answer.json()
            if (
                answer.status_code == 503
                and path == "/v1/events"
                and self._redis.was_down(began, time.monotonic())
            ):
                self._told.counts["events refused while Redis was killed"] += 1
            elif answer.status_code == 503 and service.was_down(began, time.monotonic()):
                self._told.counts["refused by a service that was being started"] += 1
            else:
                self._told.failed.append(f"{path}: {answer.status_code} {answer.text:.200}")
            time.sleep(0.1)
        self._told.failed.append(f"{path}: given up")
        return None
