"""A client of the service that asks again until it is answered."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Final

from training.service_client import AwayError, ServiceClient

logger = logging.getLogger(__name__)

SAY_S: Final = 10.0
"""How often the log says at most that something is sent again."""
MIN_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0
"""Between two attempts the pause doubles up to this."""


class StopAskingError(Exception):
    """It is time to stop, while a request has no answer."""


class AskingClient(AbstractContextManager["AskingClient"]):
    """Sends JSON to a service, each thread over a connection of its own; its context closes all of them.

    Args:
        url: Of the service, such as `http://127.0.0.1:8000`.
        api_key: A key that may rank and write events; None for a service without keys.
        stop: Asked between two attempts whether to give up.

    Attributes:
        retries: How often something was sent again.

    Raises:
        UserError: The URL is none.
    """

    def __init__(self, url: str, api_key: str | None, stop: Callable[[], bool]) -> None:
        self._make = partial(ServiceClient, url, api_key)
        self._all = [self._make()]  # which finds out about the URL
        self._stop = stop
        self._own = threading.local()
        self._said_at = -SAY_S
        self.retries = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._all:
            client.close()

    def post(self, path: str, body: bytes, accept: Callable[[Any], bool] = lambda _: True) -> Any:
        """Send a body until it is answered well, and return the answer.

        Args:
            path: Where to.
            body: JSON.
            accept: Whether an answer will do; else the body is sent again.

        Raises:
            WatchnextError: The service refuses the body.
            StopAskingError: It is time to stop.
        """
        pause_s = MIN_PAUSE_S
        while True:
            try:
                answer = self._client().call("POST", path, body)
                if accept(answer):
                    return answer
                why = f"{path}: degraded: {', '.join(answer.get('degraded', []))}"
            except AwayError as error:
                why = str(error)
            self._say(why)
            if self._stop():
                raise StopAskingError
            self.retries += 1
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _say(self, why: str) -> None:
        """Say now and then that something is sent again."""
        if (now := time.monotonic()) - self._said_at >= SAY_S:
            self._said_at = now
            logger.warning("%s; it is sent again", why)

    def _client(self) -> ServiceClient:
        """The thread's own."""
        client: ServiceClient | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self._make()
            self._all.append(client)
        return client
