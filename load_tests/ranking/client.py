"""A load generator with little overhead: prepared requests over plain sockets, in its own process.

    python -m load_tests.ranking.client --url URL --requests FILE --seconds S --out FILE
        --connections N                     closed loop: connections send a request after each answer
        --rate R [--arrivals poisson|even]  open loop: requests are sent at a rate, whatever the latency

Latency is measured from the time at which a request is due, so that it includes the wait for a connection (no
coordinated omission). --timeout-ms is also sent as X-Timeout-Ms; an answer after that time is late, and the
client closes the connection after twice that time.
"""

import argparse
import asyncio
import json
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import uvloop

MAX_CONNECTIONS = 1_000
"""Limit of the open loop; a request fails if all connections are waiting."""

NEVER_S = 3600.0


@dataclass
class Tally:
    """Outcomes of the requests that were due during the measurement.

    Attributes:
        seconds: Length of the measurement.
        sent: Number of requests.
        answered_ms: Latency of each answer with status 200 within the timeout.
        rejected_ms: Latency of each answer with status 503.
        late: Requests without an answer within the timeout.
        failed: Lost connections and other statuses.
        client_cores: Processor time of the client over wall time.
        lag_ms: Largest delay of the client against its schedule.
    """

    seconds: float = 0.0
    sent: int = 0
    answered_ms: list[float] = field(default_factory=list)
    rejected_ms: list[float] = field(default_factory=list)
    late: int = 0
    failed: int = 0
    client_cores: float = 0.0
    lag_ms: float = 0.0

    def count(self, status: int | None, took_s: float, *, in_time: bool) -> None:
        """Count a request by its answer's status; None for no answer."""
        self.sent += 1
        if status in (200, None) and not in_time:
            self.late += 1
        elif status == 200:
            self.answered_ms.append(took_s * 1e3)
        elif status == 503:
            self.rejected_ms.append(took_s * 1e3)
        else:
            self.failed += 1


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection with one request at a time."""

    def __init__(self) -> None:
        self.open = False
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self.transport, self.open = transport, True

    async def ask(self, request: bytes) -> int:
        """Send a request and return its answer's status.

        Raises:
            ConnectionError: The connection was lost before the answer was complete.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Parse a part of the answer."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Resolve the request with the answer's status."""
        if not self._parser.should_keep_alive():
            self.close()
        if self._answer and not self._answer.done():
            self._answer.set_result(self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request in flight."""
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionError(str(error)))

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self.transport.close()


class Client:
    """Sends requests to a service and counts the outcomes.

    Args:
        url: The service's URL.
        bodies: JSON documents, which are sent in turn.
        timeout_ms: Latency from which an answer is late; None for no limit.
    """

    def __init__(self, url: str, bodies: list[bytes], timeout_ms: float | None) -> None:
        self._url = urlsplit(url)
        self._timeout_s = NEVER_S if timeout_ms is None else timeout_ms / 1e3
        head = f"POST /v1/rank HTTP/1.1\r\nHost: {self._url.netloc}\r\nContent-Type: application/json\r\n"
        head += "" if timeout_ms is None else f"X-Timeout-Ms: {timeout_ms:.0f}\r\n"
        self._requests: Iterator[bytes] = cycle(
            [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        )
        self._idle: list[Connection] = []
        self._connections = 0
        self._tally = Tally()
        self._since, self._until = float("inf"), float("inf")

    async def closed_loop(self, connections: int, warm_up_s: float, seconds: float) -> Tally:
        """Send requests over some connections, each after the answer before it."""

        async def ask_again() -> None:
            while time.perf_counter() < self._until:
                await self._ask(time.perf_counter())

        return await self._measure(
            warm_up_s, seconds, asyncio.gather(*(ask_again() for _ in range(connections)))
        )

    async def open_loop(self, rate: float, arrivals: str, warm_up_s: float, seconds: float) -> Tally:
        """Send requests at a rate per second, whatever the latency."""
        draw = random.Random(0)

        async def ask_on_time() -> None:
            waiting: set[asyncio.Task[None]] = set()
            due = time.perf_counter()
            while due < self._until:
                if (ahead := due - time.perf_counter()) > 0:
                    await asyncio.sleep(ahead)
                elif due >= self._since:
                    self._tally.lag_ms = max(self._tally.lag_ms, -ahead * 1e3)
                    if ahead < -0.01:
                        await asyncio.sleep(0)  # lets answers be read when the schedule is late
                task = asyncio.create_task(self._ask(due))
                waiting.add(task)
                task.add_done_callback(waiting.discard)
                due += draw.expovariate(rate) if arrivals == "poisson" else 1 / rate
            await asyncio.gather(*waiting)

        return await self._measure(warm_up_s, seconds, ask_on_time())

    async def _measure(self, warm_up_s: float, seconds: float, load: "asyncio.Future[object]") -> Tally:
        self._since = time.perf_counter() + warm_up_s
        self._until = self._since + seconds
        running = asyncio.ensure_future(load)
        await asyncio.sleep(warm_up_s)
        cpu_s = _cpu_s()
        await asyncio.sleep(seconds)
        self._tally.client_cores = (_cpu_s() - cpu_s) / seconds
        self._tally.seconds = seconds
        await running
        return self._tally

    async def _ask(self, due: float) -> None:
        """Send a request that is due at `due`, in seconds of `perf_counter()`."""
        connection: Connection | None = None
        status: int | None = None
        try:
            async with asyncio.timeout(due + 2 * self._timeout_s - time.perf_counter()):
                connection = await self._connect()
                status = await connection.ask(next(self._requests))
        except TimeoutError:
            if connection:
                connection.close()
        except OSError:
            await asyncio.sleep(0.01)
        finally:
            if connection and connection.open:
                self._idle.append(connection)
            elif connection:
                self._connections -= 1
        if self._since <= due < self._until:
            took_s = time.perf_counter() - due
            self._tally.count(status, took_s, in_time=took_s <= self._timeout_s)

    async def _connect(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
            self._connections -= 1
        if self._connections >= MAX_CONNECTIONS:
            raise ConnectionError("every connection waits for an answer")
        self._connections += 1
        try:
            loop = asyncio.get_running_loop()
            _, made = await loop.create_connection(Connection, self._url.hostname, self._url.port)
        except BaseException:
            self._connections -= 1
            raise
        return made


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run one measurement."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--requests", type=Path, required=True, help="bodies, one a line")
    arguments.add_argument("--connections", type=int, default=4)
    arguments.add_argument("--rate", type=float, help="requests a second; makes it an open loop")
    arguments.add_argument("--arrivals", choices=["poisson", "even"], default="poisson")
    arguments.add_argument("--timeout-ms", type=float)
    arguments.add_argument("--warm-up", type=float, default=2.0)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--out", type=Path, required=True)
    given = arguments.parse_args()
    client = Client(given.url, given.requests.read_bytes().splitlines(), given.timeout_ms)
    if given.rate:
        load = client.open_loop(given.rate, given.arrivals, given.warm_up, given.seconds)
    else:
        load = client.closed_loop(given.connections, given.warm_up, given.seconds)
    given.out.write_text(json.dumps(asdict(uvloop.run(load))))


if __name__ == "__main__":
    main()
