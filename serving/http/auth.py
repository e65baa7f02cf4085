"""Who may call what: API keys with roles.

A key is 256 random bits, so its plain SHA-256 may lie in a file: there is no dictionary to try, and a slow
hash, which protects what people make up, would only slow every request down.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import problems
from serving.http.metrics import Metrics


class Role(StrEnum):
    """What a key is for; each role may also do what those before it may."""

    RANK = "rank"
    WRITE = "write"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what the other is needed for."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


NEEDED: Final[Mapping[str, Role]] = {
    "/v1/rank": Role.RANK,
    "/v1/model": Role.RANK,
    "/metrics": Role.RANK,
    "/v1/videos": Role.WRITE,
    "/v1/users": Role.WRITE,
}
"""The role that each path needs; one that stands neither here nor in `OPEN` needs `admin`."""
OPEN: Final = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
"""Paths that need no key."""


class ApiKey(BaseModel):
    """A key that may call, known by its hash alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Whose key it is.")
    role: Role = Field(description="What it is for.")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", repr=False, description="SHA-256 of the key, in hexadecimal digits."
    )


def fresh_key() -> str:
    """Draw a new key of 256 random bits."""
    return f"wn_{secrets.token_urlsafe(32)}"


def hashed(key: str) -> str:
    """The hash by which a key is known."""
    return hashlib.sha256(key.encode()).hexdigest()


class ApiKeyMiddleware:
    """Turns away who carries no key, or one whose role does not suffice, before the body is read.

    Args:
        app: What they may call.
        keys: The keys that are known.
        metrics: Counts who was turned away.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[ApiKey], metrics: Metrics) -> None:
        self.app = app
        self._roles = [(key.sha256.encode(), key.role) for key in keys]
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        needed = NEEDED.get(scope["path"], Role.ADMIN)
        role = self._role(scope)
        if role is not None and role.covers(needed):
            await self.app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        if role is None:
            self._metrics.reject("unauthenticated")
            answer = problems.response(
                request_id,
                "unauthenticated",
                "expected a known key in the header 'Authorization: Bearer KEY'",
                headers={"WWW-Authenticate": "Bearer"},
            )
        else:
            self._metrics.reject("forbidden")
            detail = f"expected a key of the role {needed}, or of a higher one, found {role}"
            answer = problems.response(request_id, "forbidden", detail)
        await answer(scope, receive, send)

    def _role(self, scope: Scope) -> Role | None:
        """The role of the key that a request carries; every known key is compared, each in constant time."""
        scheme, _, key = next((v for n, v in scope["headers"] if n == b"authorization"), b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        presented = hashlib.sha256(key.strip()).hexdigest().encode()
        found = None
        for known, role in self._roles:
            if hmac.compare_digest(known, presented):
                found = role
        return found
