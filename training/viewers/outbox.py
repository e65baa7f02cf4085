"""Events that viewers are about to send: at least once each, whatever becomes of the service meanwhile."""

import heapq
import logging
import threading
import time
from collections.abc import Iterable
from itertools import count
from typing import Any, Final

from ranker.errors import WatchnextError
from training.service_client import AwayError, ServiceClient
from training.viewers.behaviour import Due

logger = logging.getLogger(__name__)

MAX_EVENTS: Final = 1_000
"""Events of one call."""
PAUSE_S: Final = 0.1
MAX_BACKOFF_S: Final = 5.0
LAST_S: Final = 3.0
"""How long the last events are tried when the viewers leave."""


class Outbox:
    """Sends events when they are due, in a thread of its own; a context manager.

    A call that was not answered, or with a 503, is sent again as it is: its events count once by their ids.
    What viewers were still about to do when the context ends is sent at once.

    Args:
        client: Used by this alone.

    Attributes:
        sent: Events that the service has taken.
        rejected: Events that it has set aside.
        retries: Calls that had to be sent again.
    """

    def __init__(self, client: ServiceClient) -> None:
        self.sent = self.rejected = self.retries = 0
        self._client = client
        self._due: list[tuple[float, int, dict[str, Any]]] = []
        self._order = count()
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="viewers-outbox")

    def __enter__(self) -> "Outbox":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Events that are not sent yet."""
        return len(self._due)

    def add(self, events: Iterable[Due]) -> None:
        """Send events when they are due, counted from now."""
        now = time.monotonic()
        with self._lock:
            for due in events:
                heapq.heappush(self._due, (now + due.after_s, next(self._order), due.event))

    def _run(self) -> None:
        while not self._left.wait(PAUSE_S):
            while events := self._taken(time.monotonic()):
                self._send(events, give_up_s=float("inf"))
        give_up_s = time.monotonic() + LAST_S
        while time.monotonic() < give_up_s and (events := self._taken(float("inf"))):
            self._send(events, give_up_s=give_up_s)
        self._client.close()

    def _taken(self, until_s: float) -> list[dict[str, Any]]:
        """Take what is due by a time, as much as fits into a call."""
        events: list[dict[str, Any]] = []
        with self._lock:
            while self._due and self._due[0][0] <= until_s and len(events) < MAX_EVENTS:
                events.append(heapq.heappop(self._due)[2])
        return events

    def _send(self, events: list[dict[str, Any]], give_up_s: float) -> None:
        pause_s = PAUSE_S
        while True:
            try:
                answer = self._client.call("POST", "/v1/events", {"events": events})
            except AwayError as error:
                if time.monotonic() > give_up_s:
                    logger.warning("%s; %d events are lost", error, len(events))
                    return
                self.retries += 1
                if self._left.wait(max(pause_s, error.retry_after_s)):
                    give_up_s = min(give_up_s, time.monotonic() + LAST_S)
                    time.sleep(PAUSE_S)
                pause_s = min(2 * pause_s, MAX_BACKOFF_S)
            except WatchnextError as error:
                logger.error("%d events were refused: %s", len(events), error)
                self.rejected += len(events)
                return
            else:
                self.sent += int(answer["written"])
                self.rejected += len(answer["rejected"])
                return
