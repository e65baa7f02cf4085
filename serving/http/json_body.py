"""Reading a JSON body with limits on its size, time and number of values, and strict parsing.

The standard library's parser accepts NaN, lone surrogates and nesting up to the recursion limit; pydantic's
refuses all three and is faster. Both take their time by value, not by byte: two megabytes of brackets take
half a second, in which the event loop would answer nobody. So the values are counted first.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, Self, runtime_checkable

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.types import Receive, Scope

from serving.http import problems
from serving.http.mistakes import Mistakes
from serving.http.turns import Steps

MAX_VALUES: Final = 65_536
"""Values of a body: those of a thousand candidates with sixty features each."""
MAX_DIGITS: Final = 1_024
"""Digits in a row: an id may have as many, and the time that a number takes grows with their square."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
MARKS: Final = (b",", b"[", b"{")
"""Every value but one follows one of these; those inside texts are counted too."""


@runtime_checkable
class Stepwise(Protocol):
    """A model that may hold so much that it is validated in steps."""

    @classmethod
    def in_steps(cls, document: Any) -> Steps[Self]:
        """Validate a parsed body.

        Raises:
            InvalidRequestError: It names the mistakes.
        """


class JsonRequest(Request):
    """A request whose body must be JSON of a model, and within the settings' limits of size and time.

    Args:
        scope: Of the request.
        receive: Gives its body.
        model: What the body has to be.
    """

    def __init__(self, scope: Scope, receive: Receive, model: type[BaseModel]) -> None:
        super().__init__(scope, receive)
        self._model = model

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
            body = await self.app.state.bodies.read(self.receive)
            if not body:
                raise problems.not_json("an empty body")
            self._body = body
        return self._body

    async def read(self) -> None:
        """Parse and validate the body, in slices.

        Raises:
            Problem: It is not JSON, or has too many values; or as of `body`.
            InvalidRequestError: It is not of the model.
        """
        ticket = getattr(self.state, "ticket", None)
        steps = _read(await self.body(), self._model)
        self._validated = await self.app.state.turns.take(ticket.place if ticket else 0.0, steps)

    async def json(self) -> BaseModel:
        """The validated body, which FastAPI takes as it is; `read` was called before."""
        validated: BaseModel = self._validated
        return validated


class JsonRoute(APIRoute):
    """A route that reads its body as a `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler, which reads the body through the request it is given."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model = self.body_field.field_info.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)

        async def handle_json(request: Request) -> Response:
            json_request = JsonRequest(request.scope, request.receive, model)
            # Here and not in FastAPI's handler, which answers any error of reading with a 400 of its own.
            await json_request.read()
            return await handle(json_request)

        return handle_json


def _read(body: bytes, model: type[BaseModel]) -> Steps[BaseModel]:
    if len(body) > MAX_VALUES and sum(map(body.count, MARKS)) > MAX_VALUES:
        raise problems.too_many_values(MAX_VALUES)
    if body.translate(_DIGITS).find(b"0" * (MAX_DIGITS + 1)) >= 0:
        raise problems.too_many_digits(MAX_DIGITS)
    yield
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise problems.not_json(str(error)) from error
    yield
    if issubclass(model, Stepwise):
        validated: BaseModel = yield from model.in_steps(document)
        return validated
    try:
        return model.model_validate(document)
    except ValidationError as error:
        mistakes = Mistakes()
        mistakes.add_all((), error)
        raise mistakes.error() from error
