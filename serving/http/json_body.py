"""Reading a JSON body with limits on its size and time, and strict parsing.

The standard library's parser accepts NaN, lone surrogates and nesting up to the recursion limit; pydantic's
refuses all three and is faster.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from serving.http import problems


class JsonRequest(Request):
    """A request whose body must be JSON, and within the settings' limits of size and time."""

    async def body(self) -> bytes:
        """Read the body.

        Raises:
            Problem: It is empty, not declared as JSON, larger than `max_body_bytes`, whatever its
                Content-Length, or not complete after `body_timeout_s`.
        """
        if not hasattr(self, "_body"):
            media_type = self.headers.get("content-type")
            if media_type is None or media_type.partition(";")[0].strip().lower() != "application/json":
                raise problems.not_declared_as_json(media_type)
            settings = self.app.state.settings
            body = bytearray()
            try:
                async with asyncio.timeout(settings.body_timeout_s):
                    async for chunk in self.stream():
                        body += chunk
                        if len(body) > settings.max_body_bytes:
                            raise problems.body_too_large(settings.max_body_bytes)
            except TimeoutError:
                raise problems.body_too_slow(settings.body_timeout_s) from None
            if not body:
                raise problems.not_json("an empty body")
            self._body = bytes(body)
        return self._body

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            Problem: It is not JSON; or as of `body`.
        """
        try:
            return from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise problems.not_json(str(error)) from error


class JsonRoute(APIRoute):
    """A route that reads its body as a `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler, which reads the body through the request it is given."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json
