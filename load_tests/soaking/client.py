"""A steady load whose answers are all recorded, in its own process.

    python -m load_tests.soaking.client --url URL --requests FILE --rate R --out FOLDER

Until SIGTERM, requests are sent at an even rate, whatever the latency, which is measured from the time at
which a request is due. `answers.jsonl` has one line per answer. `sample.jsonl` has some answers in full: one
in `--every`, and the first ones after a change of version or degradation.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import orjson
import uvloop

from load_tests.ranking.client import Connection

TIMEOUT_S = 10.0
AFTER_A_CHANGE = 10
"""Answers that are kept in full after a change of version or degradation."""


class Reading(Connection):
    """A connection that keeps the answer's body."""

    def __init__(self) -> None:
        super().__init__()
        self.body = bytearray()

    async def ask(self, request: bytes) -> int:
        """Send a request and return its answer's status; the body is in `body`."""
        self.body.clear()
        return await super().ask(request)

    def on_body(self, data: bytes) -> None:
        """Append a part of the body."""
        self.body += data


class Steady:
    """Sends requests at a steady rate and records the answers.

    Args:
        url: The service's URL.
        bodies: JSON documents, which are sent in turn.
        every: One in so many answers is kept in full.
        answers: Gets `[due, ms, status, version, degraded, viewer known]` for each; `due` is `monotonic()`.
        sample: Gets `{"request", "due", "done", "answer"}` of those that are kept.
    """

    def __init__(
        self, url: str, bodies: list[bytes], every: int, answers: IO[bytes], sample: IO[bytes]
    ) -> None:
        self._url = urlsplit(url)
        head = f"POST /v1/rank HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Type: application/json\r\n"
        requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._requests: Iterator[tuple[int, bytes]] = cycle(enumerate(requests))
        self._every, self._answers, self._sample = every, answers, sample
        self._idle: list[Reading] = []
        self._count, self._keep = 0, 0
        self._last: tuple[str, ...] = ()

    async def run(self, rate: float) -> None:
        """Send requests at a rate per second until SIGTERM."""
        waiting: set[asyncio.Task[None]] = set()
        over = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
        start = time.monotonic()
        for number in count():
            if over.is_set():
                break
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self._ask(due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)

    async def _ask(self, due: float) -> None:
        connection: Reading | None = None
        status, (index, request) = 0, next(self._requests)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await self._connection()
                status = await connection.ask(request)
        except (OSError, TimeoutError):
            if connection is not None:
                connection.close()
        ms = round((time.monotonic() - due) * 1e3, 2)
        if connection is not None and connection.open:
            self._idle.append(connection)
        answer = orjson.loads(connection.body) if status == 200 and connection else {}
        version, degraded = answer.get("model_version", ""), answer.get("degraded", [])
        known = not answer.get("unknown", {}).get("user", False)
        self._answers.write(orjson.dumps([due, ms, status, version, degraded, known]) + b"\n")
        if status == 200:
            self._maybe_keep(index, due, answer, (version, *degraded, str(known)))

    def _maybe_keep(self, index: int, due: float, answer: object, kind: tuple[str, ...]) -> None:
        self._count += 1
        if kind != self._last:
            self._last, self._keep = kind, AFTER_A_CHANGE
        if self._keep or self._count % self._every == 0:
            self._keep = max(0, self._keep - 1)
            kept = {"request": index, "due": due, "done": time.monotonic(), "answer": answer}
            self._sample.write(orjson.dumps(kept) + b"\n")

    async def _connection(self) -> Reading:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Reading, self._url.hostname, self._url.port)
        return made


def main() -> None:
    """Send requests until SIGTERM."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--requests", type=Path, required=True, help="bodies, one a line")
    arguments.add_argument("--rate", type=float, required=True, help="requests a second")
    arguments.add_argument("--every", type=int, default=50)
    arguments.add_argument("--out", type=Path, required=True, help="an existing folder")
    given = arguments.parse_args()
    with (given.out / "answers.jsonl").open("wb") as answers, (given.out / "sample.jsonl").open("wb") as kept:
        steady = Steady(given.url, given.requests.read_bytes().splitlines(), given.every, answers, kept)
        uvloop.run(steady.run(given.rate))


if __name__ == "__main__":
    main()
