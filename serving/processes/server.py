"""Serves an ASGI application at a socket until it is stopped."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import uvicorn
from fastapi import FastAPI

from ranker.errors import UserError
from serving.http.admission import Admission
from serving.http.protocol import bounded_protocol
from serving.processes.listening import BACKLOG, listen

KEEP_ALIVE_S: Final = 75
"""Longer than the idle timeouts of clients and load balancers, so that they close first; otherwise we could
close a connection just as a request arrives."""
DRAIN_S: Final = 0.3
"""How long open connections may still bring a request after the service was asked to stop."""


class Server(uvicorn.Server):
    """Serves an application.

    When it is asked to stop it accepts no more connections. An open connection may still bring a request that
    was on its way, and is closed with the answer. Requests in flight are answered, within a time limit.

    Args:
        app: The application.
        admission: Counts its ranking requests.
        shutdown_timeout_s: The time limit for requests in flight.
        on_ready: Called once requests are answered.
    """

    def __init__(
        self, app: FastAPI, admission: Admission, *, shutdown_timeout_s: int, on_ready: Callable[[], None]
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
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer.

        The objects that exist by now, mostly modules and the model, are excluded from garbage collection:
        a full collection would otherwise traverse them now and then, and delay answers by some 150 ms.

        Raises:
            UserError: Another process listens at the address of one of the sockets.
        """
        await super().startup([])
        try:
            for listener in sockets or []:
                await self._listen(listener)
        except UserError:
            await self.shutdown(sockets)
            raise
        gc.collect()
        gc.freeze()
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer the requests that were accepted, and stop."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(DRAIN_S)
        await super().shutdown(sockets)

    def serve_connection(self, connection: socket.socket) -> Awaitable[object]:
        """Serve a connection that another process accepted."""
        return asyncio.get_running_loop().connect_accepted_socket(self._new_protocol, connection)

    async def _listen(self, listener: socket.socket) -> None:
        listen(listener)
        self.servers.append(
            await asyncio.get_running_loop().create_server(self._new_protocol, sock=listener, backlog=BACKLOG)
        )

    def _new_protocol(self) -> asyncio.Protocol:
        state, app_state = self.server_state, self.lifespan.state
        return self._protocol(config=self.config, server_state=state, app_state=app_state)
