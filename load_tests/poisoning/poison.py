"""What comes in beside the traffic: broken requests, impossible values, wrong clocks, a flood, and a bot."""

import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Final

import httpx

from training.viewers.behaviour import shown_events

YEAR_MS: Final = 365 * 86_400_000
HUGE: Final = 1e30
EVENTS_PER_CALL: Final = 1_000
FLOODED: Final = 5
"""Impressions that the flood of events is about."""
KINDS: Final = ("click", "like", "dismiss", "watch_time", "rating")


def broken(request_id: str, video: str) -> list[tuple[str, str]]:
    """Requests that are wrong in themselves: paths and bodies, most of them on a real impression."""
    event = {"event_id": "broken", "request_id": request_id, "video_id": video, "kind": "watch_time"}
    wrong = [{"value": "much"}, {"value": None}, {"value": [1]}, {"value": True}, {"time_ms": "now"}]
    wrong += [{"time_ms": 1.5}, {"video_id": 1.5}, {"kind": 7}, {"event_id": ""}, {"request_id": {}}]
    texts = [json.dumps({"events": [event | change]}) for change in wrong]
    texts += [json.dumps({"events": [event | {"value": 7}]}).replace("7}", f"{text}}}") for text in NOT_JSON]
    rank: dict[str, Any] = {"user": {"id": "broken"}, "candidates": [{"id": video}]}
    bad: list[dict[str, Any]] = [{"user": 5}, {"user": {"id": [1]}}, {"candidates": []}, {"candidates": "1"}]
    bad += [{"candidates": [{"id": video, "features": {"duration_s": "long"}}]}, {"context": {"hour": {}}}]
    bad += [{"time_ms": time.time_ns() // 1_000_000 + YEAR_MS}, {"time_ms": -1}, {"limit": HUGE}]
    asked = [json.dumps(rank | change) for change in bad]
    number = json.dumps(rank | {"candidates": [{"id": video, "features": {"duration_s": 7}}]})
    asked += [number.replace("7}", f"{text}}}") for text in NOT_JSON]
    return [*(("/v1/events", text) for text in texts), *(("/v1/rank", text) for text in asked)]


NOT_JSON: Final = ("NaN", "Infinity", "-Infinity", "1e400")


@dataclass
class Poison:
    """Sends it, for some time, in a thread of its own.

    Args:
        url: Of the service.
        targets: Videos that are ranked for those who send it.
        seconds: How long.
        flood: Events of the viewer who sends the most.
        bot_rate: Pages a second that the bot asks for.

    Attributes:
        answers: How often which answer came: what was sent, status, and reason.
        bot_pages: Pages that the bot has liked.
    """

    url: str
    targets: Sequence[str]
    seconds: float
    flood: int
    bot_rate: float
    answers: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    bot_pages: int = 0
    _broken: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="poison")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end.

        Raises:
            RuntimeError: Not all was sent.
        """
        self._thread.join()
        if self._broken:
            raise RuntimeError("the poison ended early") from self._broken[0]

    def _run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=30) as client:
                self._client = client
                self._pour()
        except BaseException as error:
            self._broken.append(error)

    def _pour(self) -> None:
        began, ticks = time.monotonic(), max(1, round(self.seconds * self.bot_rate))
        calls = -(-self.flood // EVENTS_PER_CALL)
        flooded = [self._page("flood") for _ in range(FLOODED)]
        page, sent = self._page("broken"), 0
        for tick in range(ticks):
            self._bot()
            if tick % 2 == 0:
                self._greedy()
            while sent < calls * (tick + 1) // ticks:
                self._flood(flooded[sent % FLOODED], sent)
                sent += 1
            for path, text in broken(page, self.targets[0]):
                self._post("wrong types, NaN, no numbers", path, text)
            self._clock(page, tick)
            time.sleep(max(0.0, began + (tick + 1) / self.bot_rate - time.monotonic()))

    def _bot(self) -> None:
        """Likes everything: clicks, likes, watches for two minutes and gives five stars."""
        page = self._page("bot")
        did = {"click": 1, "like": 1, "watch_time": 120, "rating": 5}
        self._events(
            "a bot", [self._event(page, v, kind, x) for v in self.targets for kind, x in did.items()]
        )
        self.bot_pages += 1

    def _greedy(self) -> None:
        """Gives impossible values, and asks with impossible features."""
        page = self._page("greedy", {"register_days": HUGE}, {"duration_s": HUGE})
        self._page("greedy", {"register_days": -HUGE}, {"duration_s": -HUGE})
        values = (HUGE, -HUGE, 1e39, 1e308)
        events = [self._event(page, self.targets[0], kind, value) for kind in KINDS for value in values]
        events += [self._event(page, v, "watch_time", HUGE) for v in self.targets[1:]]
        events += [self._event(page, v, "rating", HUGE) for v in self.targets[1:]]
        events += [self._event(page, "no video", "click", 1), self._event(page, "1", "love", 1)]
        events += [self._event("no request", self.targets[0], "click", 1)]
        self._events("1e30, unknown names", events)

    def _flood(self, page: str, number: int) -> None:
        """A call's part of one viewer's events, on few impressions."""
        each = islice(cycle((v, kind) for kind in KINDS for v in self.targets), EVENTS_PER_CALL)
        events = [self._event(page, video, kind, 1) for video, kind in each]
        for place, event in enumerate(events):
            event["event_id"] = f"flood {number} {place}"
        self._events("a flood", events)

    def _clock(self, page: str, tick: int) -> None:
        """A clock that is a year fast."""
        event = self._event(page, self.targets[0], "like", 1)
        event["time_ms"] = time.time_ns() // 1_000_000 + YEAR_MS
        self._events("a clock a year fast", [event | {"event_id": f"clock {tick}"}])

    def _page(
        self, viewer: str, features: dict[str, Any] | None = None, of: dict[str, Any] | None = None
    ) -> str:
        """Have the targets ranked, and say that they were shown; return the request's id."""
        body = {
            "user": {"id": viewer, "features": features or {}},
            "candidates": [{"id": video, "features": of or {}} for video in self.targets],
        }
        answer = self._post(f"a page of the {viewer} viewer", "/v1/rank", json.dumps(body))
        if answer.status_code != httpx.codes.OK:
            return "none"
        request_id = str(answer.json()["request_id"])
        self._events(
            f"a page of the {viewer} viewer", [d.event for d in shown_events(request_id, self.targets)]
        )
        return request_id

    def _event(self, request_id: str, video: str, kind: str, value: float) -> dict[str, Any]:
        name = f"{request_id} {video} {kind} {value}"
        return {"event_id": name, "request_id": request_id, "video_id": video, "kind": kind, "value": value}

    def _events(self, what: str, events: list[dict[str, Any]]) -> None:
        """Send some, and count what became of each."""
        answer = self._client.post("/v1/events", json={"events": events})
        if answer.status_code != httpx.codes.OK:
            self.answers[what, answer.status_code, _reason(answer)] += len(events)
            return
        told = answer.json()
        self.answers[what, answer.status_code, "written"] += told["written"]
        for one in told["rejected"]:
            self.answers[what, answer.status_code, one["reason"]] += 1

    def _post(self, what: str, path: str, text: str) -> httpx.Response:
        answer = self._client.post(path, content=text, headers={"Content-Type": "application/json"})
        reason = "ranked" if path == "/v1/rank" else "written"
        if answer.status_code != httpx.codes.OK:
            reason = _reason(answer)
        elif path == "/v1/events" and answer.json()["rejected"]:
            reason = answer.json()["rejected"][0]["reason"]
        self.answers[what, answer.status_code, reason] += 1
        return answer


def _reason(answer: httpx.Response) -> str:
    """The kind of a problem document."""
    return str(answer.json()["type"]).rsplit("/", 1)[-1].rsplit(":", 1)[-1]
