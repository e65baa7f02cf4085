"""Connections that cost a service more than a request does: heads without bodies, trailers without end."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

Address = tuple[str, int]
HEADS: Final = 32
"""Connections with heads that are a fault for a service."""
TRAILERS: Final = 2
"""Connections with trailers that are one."""
POST: Final = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TRAILED: Final = POST % b"/nowhere" + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
"""A request that is answered before it has ended."""
JOIN_S: Final = 2.0


@contextmanager
def heads_without_bodies(address: Address, count: int) -> Iterator[None]:
    """Hold connections that have sent the head of a ranking request and nothing more."""
    with ExitStack() as connections:
        for _ in range(count):
            connection = connections.enter_context(socket.create_connection(address))
            connection.sendall(POST % b"/v1/rank" + b"Content-Length: 100\r\n\r\n")
        time.sleep(0.2)
        yield


@contextmanager
def endless_trailers(address: Address, count: int) -> Iterator[None]:
    """Send trailers on some connections for as long as the context lasts; closed ones are opened again."""
    end = threading.Event()
    senders = [threading.Thread(target=_send, args=(address, end, number)) for number in range(count)]
    for sender in senders:
        sender.start()
    try:
        yield
    finally:
        end.set()
        for sender in senders:
            sender.join(JOIN_S)


def _send(address: Address, end: threading.Event, number: int) -> None:
    trailers = b"a%d: b\r\n" % number * 10_000
    while not end.is_set():
        with suppress(OSError), socket.create_connection(address, timeout=1) as connection:
            connection.sendall(TRAILED)
            while not end.is_set():
                connection.sendall(trailers)
