"""An ASGI application behind a socket, until it is told to stop."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn
from fastapi import FastAPI

from serving.http.admission import Admission
from serving.http.protocol import bounded_protocol

KEEP_ALIVE_S: Final = 75
"""Longer than clients and load balancers keep a connection, so that they close it and not we, in the moment
in which they send the next request."""
DRAIN_S: Final = 0.3
"""How long connections that are open may still bring a request after the service was told to stop."""


class Server(uvicorn.Server):
    """Serves an application.

    When it is told to stop it takes no more connections; each that is open may bring what was on its way and
    is closed with the answer. Whoever waits for an answer gets it, up to a limit of time.

    Args:
        app: The application.
        admission: Counts its ranking requests.
        shutdown_timeout_s: That limit.
        ready: Called once requests are answered.
    """

    def __init__(
        self, app: FastAPI, admission: Admission, *, shutdown_timeout_s: int, ready: Callable[[], None]
    ) -> None:
        self._protocol = bounded_protocol(admission)
        super().__init__(
            uvicorn.Config(
                app,
                http=self._protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=shutdown_timeout_s,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer.

        What is there by now, most of it modules and the model, stays: it is taken out of the garbage
        collector's sight, which otherwise goes through all of it now and then, and nothing is answered for
        some 150 ms.
        """
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was accepted."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)

    def join(self, connection: socket.socket) -> Awaitable[object]:
        """Serve a connection that somebody else accepted."""
        return asyncio.get_running_loop().connect_accepted_socket(self._accepted, connection)

    def _accepted(self) -> asyncio.Protocol:
        state, app_state = self.server_state, self.lifespan.state
        return self._protocol(config=self.config, server_state=state, app_state=app_state)
