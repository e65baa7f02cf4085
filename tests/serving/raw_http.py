"""HTTP as bytes on a socket, for what a well-behaved client would not send."""

import socket
from contextlib import contextmanager


@contextmanager
def connected(client):
    """A connection to the server that a client of httpx talks to."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as connection:
        yield connection


def read_answer(connection):
    """Read one answer: its status, its headers by lower-case name, its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(1)
        assert part, f"the server closed the connection after {received!r}"
        received += part
    first, *lines = received.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = b""
    while missing := int(headers.get("content-length", 0)) - len(body):
        part = connection.recv(missing)
        assert part, f"the server closed the connection {missing} bytes before the end of the body"
        body += part
    return int(first.split()[1]), headers, body


def is_closed(connection):
    """Wait until the server closes the connection; False if it sends something instead."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
