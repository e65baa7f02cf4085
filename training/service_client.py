"""A client of the service, one connection each: JSON over HTTP, and whether a failure may pass."""

import http.client
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from ranker.errors import UserError, WatchnextError
from ranker.files.secrets import shown

TIMEOUT_S: Final = 10.0
AWAY: Final = (408, 429, 500, 502, 503, 504)
"""Answers after which the same request may be sent again."""


class AwayError(WatchnextError):
    """The service did not answer, or asked to be asked again.

    Attributes:
        retry_after_s: When it wants to be asked; 0 if it did not say.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServiceClient:
    """Calls a service; one thread at a time may use it.

    Args:
        url: Of the service, such as http://127.0.0.1:8000.
        api_key: Sent with every call; None for none.

    Raises:
        UserError: The URL is not one of HTTP.
    """

    def __init__(self, url: str, api_key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"--url: expected a URL such as http://127.0.0.1:8000, found '{shown(url)}'")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._url = url.rstrip("/")
        self._path = parts.path.rstrip("/")
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request once.

        Args:
            method: Such as POST.
            path: Such as /v1/rank.
            body: What is sent as JSON, or bytes that are; None for nothing.

        Returns:
            The answer's body; None if it has none.

        Raises:
            AwayError: There was no answer, or one that asks to try again.
            WatchnextError: The service refused the request, and would again.
        """
        content = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        try:
            self._connection.request(method, self._path + path, content, self._headers)
            response = self._connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise AwayError(f"{self._url}: expected an answer, found {error!r}") from error
        if response.status in AWAY:
            wait = response.getheader("Retry-After", "")
            said = f"{self._url}{path} answered {response.status}"
            raise AwayError(said, float(wait) if wait.isdecimal() else 0.0)
        if response.status >= 400:
            text = answer.decode(errors="replace")
            raise WatchnextError(f"{self._url}{path} answered {response.status}: {text:.500}")
        return orjson.loads(answer) if answer else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
