"""The names that the service answers to.

A browser on this machine may load a page of another site, whose name its owner then gives the address
127.0.0.1 (DNS rebinding): the page may now send requests here and read the answers. Their Host tells them
apart, as it is still the site's name.
"""

import ipaddress
from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import problems

LOOPBACK_NAME: Final = "localhost"


class HostMiddleware:
    """Refuses requests to another name.

    Args:
        app: What the others reach.
        names: Accepted names, in lower case and without ports; addresses of this machine alone are accepted
            besides.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or self._accepts(scope):
            await self.app(scope, receive, send)
            return
        names = ", ".join(sorted(self._names))
        detail = f"expected a Host of {names} or a loopback address; --allowed-host adds others"
        await problems.response(scope["state"]["request_id"], "misdirected", detail)(scope, receive, send)

    def _accepts(self, scope: Scope) -> bool:
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        name = without_port(host.decode("latin-1")).lower()
        return name in self._names or is_loopback(name)


def without_port(host: str) -> str:
    """The name or address in a Host header: `localhost` of `localhost:8000`, `::1` of `[::1]:8000`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether this is an address of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
