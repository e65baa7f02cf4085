"""A client of the service that asks again until it is answered."""

import http.client
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from ranker.errors import UserError
from ranker.files.secrets import shown

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 30.0
SAY_S: Final = 10.0
"""How often the log says at most that something is sent again."""
MIN_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0
"""Between two attempts the pause doubles up to this."""
NOT_NOW: Final = (408, 429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""


class StopAskingError(Exception):
    """It is time to stop, while a request has no answer."""


class ServiceClient(AbstractContextManager["ServiceClient"]):
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
        self._url = urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise UserError(f"--url: expected one such as http://127.0.0.1:8000, found '{shown(url)}'")
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._stop = stop
        self._own = threading.local()
        self._all: list[http.client.HTTPConnection] = []
        self._said_at = -SAY_S
        self.retries = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.close()

    def post(self, path: str, body: bytes, accept: Callable[[Any], bool] = lambda _: True) -> Any:
        """Send a body until it is answered well, and return the answer.

        Args:
            path: Where to.
            body: JSON.
            accept: Whether an answer will do; else the body is sent again.

        Raises:
            UserError: The service refuses the body.
            StopAskingError: It is time to stop.
        """
        pause_s, why = MIN_PAUSE_S, ""
        while True:
            try:
                status, content = self._sent(path, body)
                if status == 200:
                    answer = orjson.loads(content)
                    if accept(answer):
                        return answer
                    why = f"degraded: {', '.join(answer.get('degraded', []))}"
                elif status not in NOT_NOW:
                    raise UserError(
                        f"{self._url.netloc}{path}: expected the service to take what the log has, found "
                        f"status {status}: {content.decode(errors='replace'):.600}"
                    )
                else:
                    why = f"status {status}"
            except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
                why = str(error) or type(error).__name__
                self._connection().close()  # the next request opens it again
            self._say(path, why)
            if self._stop():
                raise StopAskingError
            self.retries += 1
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _say(self, path: str, why: str) -> None:
        """Say now and then that the service does not answer."""
        if time.monotonic() - self._said_at > SAY_S:
            self._said_at = time.monotonic()
            logger.warning("%s%s: %s; it is sent again until it is answered", self._url.netloc, path, why)

    def _sent(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        connection.request("POST", self._url.path.rstrip("/") + path, body, self._headers)
        response = connection.getresponse()
        return response.status, response.read()

    def _connection(self) -> http.client.HTTPConnection:
        """The thread's own."""
        connection: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if connection is None:
            kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
            connection = kind(self._url.hostname or "", self._url.port, timeout=TIMEOUT_S)
            self._own.connection = connection
            self._all.append(connection)
        return connection
