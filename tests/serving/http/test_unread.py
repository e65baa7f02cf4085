import asyncio
import socket
import sys
import time

import pytest

from serving.http.unread import RESOLUTION_S, unread_s


class Transport(asyncio.BaseTransport):
    """Of a connection, or of none."""

    def __init__(self, connection=None):
        super().__init__({"socket": connection})


@pytest.fixture
def pair():
    """Both ends of a TCP connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
    ):
        receiver, _ = listener.accept()
        with receiver:
            yield sender, receiver


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when bytes came")
def test_it_is_the_time_since_the_newest_bytes_came(pair):
    sender, receiver = pair
    sender.sendall(b"a")
    time.sleep(0.2)
    receiver.recv(1)
    waited_s = unread_s(Transport(receiver))
    assert waited_s >= 0.2 - RESOLUTION_S


def test_bytes_that_are_read_at_once_have_not_waited(pair):
    sender, receiver = pair
    time.sleep(0.2)
    waits = []
    for _ in range(20):  # the machine may be busy
        sender.sendall(b"a")
        receiver.recv(1)
        waits.append(unread_s(Transport(receiver)))
    assert min(waits) == 0


def test_where_the_system_does_not_say_nothing_has_waited():
    one, other = socket.socketpair()
    with one, other:
        assert unread_s(Transport(one)) == 0
        assert unread_s(Transport()) == 0
