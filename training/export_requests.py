"""Asking a running trainer to export now, through the Redis that both know.

A request is an id in a list of the trainer's; the answer is in a list of the request's. A request that no
trainer takes in time is withdrawn.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import redis

from ranker.errors import StoreError, UserError
from ranker.store.keys import export_answer_key, exports_key

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""How often a trainer looks for requests, at most."""
ANSWER_S: Final = 600
"""How long an answer is kept."""

Export = Callable[[], dict[str, Any]]


class ExportRequests:
    """The requests that a trainer gets.

    Args:
        client: Of the Redis; its answers are bytes.
        name: The trainer's: the spec's name.

    Attributes:
        export: What is done for a request, and answers it; None as long as nothing can be.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._client = client
        self._key = exports_key(name)
        self._looked_s = float("-inf")
        self.export: Export | None = None

    def serve(self) -> None:
        """Do what was asked for meanwhile, if Redis says so; to be called often, between two steps."""
        if self.export is None or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        try:
            asked = self._client.lpop(self._key)
            if not isinstance(asked, bytes):
                return
            answer = export_answer_key(asked.decode())
            with self._client.pipeline() as pipeline:
                pipeline.rpush(answer, json.dumps(self.export()))
                pipeline.expire(answer, ANSWER_S)
                pipeline.execute()
        except redis.RedisError as error:
            logger.debug("requests to export are not looked for: %s", error)


def request_export(client: redis.Redis, name: str, *, wait_s: float) -> dict[str, Any]:
    """Ask a running trainer to export now.

    Args:
        client: Of the trainer's Redis, whose commands may block for `wait_s`; its answers are bytes.
        name: The trainer's: the spec's name.
        wait_s: How long to wait.

    Returns:
        What it answers: `model_version`, `rows`, and why it was `held_back`; or an `error`.

    Raises:
        UserError: No trainer has answered.
        StoreError: Redis does not answer.
    """
    asked = uuid.uuid4().hex
    deadline_s = time.monotonic() + wait_s
    try:
        client.rpush(exports_key(name), asked)
        while time.monotonic() < deadline_s:
            found = client.blpop([export_answer_key(asked)], timeout=1)
            if found is not None:
                answer: dict[str, Any] = json.loads(found[1])
                return answer
        client.lrem(exports_key(name), 0, asked)
    except redis.RedisError as error:
        raise StoreError(f"expected Redis to pass a request to the trainer, found {error}") from error
    raise UserError(
        f"expected `watchnext train --follow` to run for the spec '{name}' with this Redis, found no trainer "
        f"that answered within {wait_s:g} s"
    )
