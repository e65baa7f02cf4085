"""Unhandled errors: an answer 500 that reveals nothing of the inside, and one line in the log."""

import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranker.errors import WatchnextError
from serving.http import problems

logger = logging.getLogger(__name__)


class UnhandledErrorMiddleware:
    """Answers an error that nothing else handles with a 500, and logs where it was raised.

    Without it the server would log the whole stack for every such request; at the level DEBUG this does too.
    Messages of other libraries' errors are not logged: they may quote secrets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if scope["type"] != "http":
                raise
            request_id = scope["state"]["request_id"]
            origin = traceback.extract_tb(error.__traceback__)[-1]
            logger.error(
                "request %s failed: %s in %s, line %s",
                request_id,
                error if isinstance(error, WatchnextError) else type(error).__name__,
                origin.filename,
                origin.lineno,
                exc_info=logger.isEnabledFor(logging.DEBUG),
            )
            if not started:  # otherwise the server finds an incomplete answer and closes the connection
                answer = problems.response(
                    request_id, "internal-error", "the service's log says what happened"
                )
                await answer(scope, receive, send)
