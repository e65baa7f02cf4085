"""The socket that a service listens at: bound at the start, listened at once requests are answered.

Until then connections are refused, so that clients and load balancers go elsewhere. Two sockets may be bound
to one port while neither listens; which of them has the port is only decided when one of them does.
"""

import errno
import socket
from typing import Final

from ranker.errors import UserError

BACKLOG: Final = 2048


def bound_socket(host: str, port: int) -> socket.socket:
    """Bind a socket.

    Args:
        host: An address or a name of this machine.
        port: 0 for a free one, which no other socket is given then.

    Raises:
        UserError: The address is in use, or none of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    if port:  # a service that is started again does not wait for the last connections of the one before
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"--host {host} --port {port}: expected a free address, found {_found(error)}"
        ) from error
    return listener


def listen(listener: socket.socket) -> None:
    """Begin to listen at a bound socket.

    Raises:
        UserError: Another process has begun to listen at its address since it was bound.
    """
    host, port = listener.getsockname()[:2]
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: expected a free address, found {_found(error)}: "
            "another process began to listen there while this one started"
        ) from error


def address(host: str, port: int) -> str:
    """The URL of a service."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _found(error: OSError) -> str:
    """What is wrong with an address; a name that cannot be looked up has no text of its own number."""
    if error.errno == errno.EADDRINUSE:
        return "Address already in use"
    return error.strerror or str(error)
