"""Reading bodies within limits: of one body's size and time, and of all those that have not come whole."""

import asyncio
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from serving.http import problems

MAX_INCOMPLETE: Final = 256
"""Bodies of one process that may be on their way."""
MAX_INCOMPLETE_BYTES: Final = 64 * 2**20
"""What may have come of them, together."""


class Bodies:
    """Reads the bodies of requests.

    A body that is on its way takes no more than its memory. When too many are, the oldest is given up: a body
    that comes at all comes within milliseconds.

    Args:
        max_bytes: Of one body.
        timeout_s: How long one may take.
    """

    def __init__(self, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._incomplete: dict[asyncio.Timeout, int] = {}  # the bytes that have come, oldest body first
        self._held_bytes = 0

    async def read(self, receive: Receive) -> bytes:
        """Read one body.

        Raises:
            Problem: It is larger than `max_bytes`, whatever its Content-Length; or not complete in time, or
                given up.
            ClientDisconnect: The client has left.
        """
        body = bytearray()
        timeout = asyncio.timeout(self._timeout_s)
        try:
            async with timeout:
                self._incomplete[timeout] = 0
                self._make_room()
                while await self._read_part(receive, body):
                    self._hold(timeout, len(body))
                    self._make_room()
        except TimeoutError:
            raise problems.body_too_slow(self._timeout_s) from None
        finally:
            self._held_bytes -= self._incomplete.pop(timeout, 0)
        return bytes(body)

    async def _read_part(self, receive: Receive, body: bytearray) -> bool:
        """Add the next part to the body; return whether there is more."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > self._max_bytes:
            raise problems.body_too_large(self._max_bytes)
        return bool(message.get("more_body", False))

    def _hold(self, timeout: asyncio.Timeout, size: int) -> None:
        """Note how much of a body has come, unless it was given up."""
        if timeout in self._incomplete:
            self._held_bytes += size - self._incomplete[timeout]
            self._incomplete[timeout] = size

    def _make_room(self) -> None:
        """Give up the oldest bodies until what is left is allowed."""
        while len(self._incomplete) > MAX_INCOMPLETE or self._held_bytes > MAX_INCOMPLETE_BYTES:
            oldest = next(iter(self._incomplete))
            self._held_bytes -= self._incomplete.pop(oldest)
            if not oldest.expired():
                oldest.reschedule(asyncio.get_running_loop().time())
