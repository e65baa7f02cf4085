"""API keys: who may call what.

A key is 256 random bits, so its plain SHA-256 may be stored in a file. A slow hash protects passwords that
people make up from dictionary attacks; here it would only make every request slower.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http import problems
from serving.http.endpoints import needed_role
from serving.http.metrics import Metrics
from serving.http.roles import Role

Headers = Iterable[tuple[bytes, bytes]]
"""Names of headers in lower case, and their values."""


class ApiKey(BaseModel):
    """An API key; only its hash is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Whose key it is.")
    role: Role = Field(description="What it is for.")
    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", repr=False, description="SHA-256 of the key, in hexadecimal digits."
    )


def fresh_key() -> str:
    """Generate a key of 256 random bits."""
    return f"wn_{secrets.token_urlsafe(32)}"


def hashed(key: str) -> str:
    """The SHA-256 of a key, in 64 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()


def presented_key(headers: Headers) -> bytes:
    """The key in the header `Authorization: Bearer KEY`, which need not be known; empty if there is none."""
    value = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


class ApiKeyMiddleware:
    """Refuses requests without a known key, or with one whose role does not suffice, before reading the body.

    Args:
        app: What the others reach.
        keys: Gives the keys that are known now.
        metrics: Counts refusals.

    Sets `state.key_name`, whose key a request carries.
    """

    def __init__(self, app: ASGIApp, keys: Callable[[], Sequence[ApiKey]], metrics: Metrics) -> None:
        self.app = app
        self._keys = keys
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        needed = needed_role(scope["path"]) if scope["type"] == "http" else None
        if needed is None:
            await self.app(scope, receive, send)
            return
        key = self._key(scope)
        role = None if key is None else key.role
        if key is not None:
            scope["state"]["key_name"] = key.name
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

    def _key(self, scope: Scope) -> ApiKey | None:
        """The known key that a request carries, or None; each known one is compared, in constant time."""
        key = presented_key(scope["headers"])
        if not key:
            return None
        presented = hashlib.sha256(key).hexdigest()
        found = None
        for known in self._keys():
            if hmac.compare_digest(known.sha256, presented):
                found = known
        return found
