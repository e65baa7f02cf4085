"""How long what a connection brought has waited to be read.

The kernel takes bytes while the event loop is busy, and while a connection is not read because its request
before was refused. That time is the client's too: a deadline begins when the request has come.

Source: `tcpi_last_data_recv` of `struct tcp_info`, tcp(7),
https://man7.org/linux/man-pages/man7/tcp.7.html.
"""

import socket
import struct
import sys
from asyncio import BaseTransport
from contextlib import suppress
from typing import Final

RESOLUTION_S: Final = 0.01
"""Shorter waits are not told from none: the kernel counts in its ticks, of up to so many seconds."""
_LAST_DATA: Final = struct.Struct("=52xI")
"""The milliseconds since the newest data, behind eight numbers of one byte and eleven of four."""


def unread_s(transport: BaseTransport) -> float:
    """Seconds since the newest bytes came on a connection; 0 where the system does not say.

    Args:
        transport: Of the connection, when its newest bytes have just been read.
    """
    connection = transport.get_extra_info("socket")
    if sys.platform != "linux" or connection is None or connection.family == socket.AF_UNIX:
        return 0.0
    with suppress(OSError, struct.error):
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA.size)
        seconds: float = _LAST_DATA.unpack(told)[0] / 1000
        return seconds if seconds >= RESOLUTION_S else 0.0
    return 0.0
