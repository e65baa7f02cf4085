"""Reading from a connection only what can be parsed and answered, where uvicorn reads on."""

from asyncio import Transport
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class GatedFlow(FlowControl):
    """uvicorn's flow control, with more reasons not to read.

    Args:
        transport: Of the connection.
        may_resume: Whether reading may go on when the application wants so. uvicorn does not ask whether
            earlier requests still wait for their turn.
        parse_on: Called when it goes on while there are bytes that were read and not parsed.

    Attributes:
        holds: Whether there are such bytes; nothing is read meanwhile.
    """

    def __init__(
        self, transport: Transport, may_resume: Callable[[], bool], parse_on: Callable[[], None]
    ) -> None:
        super().__init__(transport)
        self.holds = False
        self._may_resume = may_resume
        self._parse_on = parse_on

    def hold(self) -> None:
        """Read nothing until `let_go`."""
        if not self.holds:
            self.holds = True
            if not self.read_paused:
                self._transport.pause_reading()

    def let_go(self) -> None:
        """Read again, unless the application wants nothing."""
        if self.holds:
            self.holds = False
            if not self.read_paused:
                self._transport.resume_reading()

    def pause_reading(self) -> None:
        """Note that the application wants nothing for now."""
        if self.holds:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """Note that the application wants more."""
        if not self.read_paused or not self._may_resume():
            return
        if self.holds:
            self.read_paused = False
            self._parse_on()
        else:
            super().resume_reading()
