"""Errors that nobody foresaw: a 500 that tells nothing of the inside, and one line in the log."""

import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ranker.errors import WatchnextError
from serving.http import problems

logger = logging.getLogger(__name__)


class DefectMiddleware:
    """Answers what nothing else answers with a 500, and says in the log where it arose.

    Without it the server would log the whole stack, for every request anew; at the level DEBUG it still does.
    Messages of other libraries are left out of the log as well: they may quote what must not be told.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
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
            if not begun:  # otherwise the server sees half an answer and closes the connection
                answer = problems.response(
                    request_id, "internal-error", "the service's log says what happened"
                )
                await answer(scope, receive, send)
