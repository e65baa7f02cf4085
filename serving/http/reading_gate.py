"""Reading from a connection only what can be parsed and answered, where uvicorn reads on."""

from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

PART_BYTES: Final = 32 * 1024
"""Bytes that are parsed before others are served; in tiny chunks they take a few milliseconds."""


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


class GatedInput:
    """Gives what comes on a connection to a parser: a part in each turn of the event loop, none in a pause.

    Args:
        loop: The event loop.
        transport: Of the connection.
        may_resume: See `GatedFlow`.
        parse: Is given the parts; it may call `pause`.

    Attributes:
        flow: The connection's flow control.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        transport: Transport,
        may_resume: Callable[[], bool],
        parse: Callable[[bytes], None],
    ) -> None:
        self.flow = GatedFlow(transport, may_resume, self._parse_later)
        self._loop = loop
        self._transport = transport
        self._parse = parse
        self._unparsed = b""
        self._will_parse = False
        self._pauses = False

    def add(self, data: bytes) -> None:
        """Parse what came, or keep it behind what came before."""
        if self._unparsed:
            self._unparsed += data
        else:
            self._parse_part(data)

    def clear(self) -> None:
        """Forget what came; the connection is lost."""
        self._unparsed = b""

    def pause(self, seconds: float) -> None:
        """Read and parse nothing for a while; a pause that has begun is not made longer."""
        self.flow.hold()
        if not self._pauses:
            self._pauses = True
            self._loop.call_later(seconds, self._go_on)

    def _parse_part(self, data: bytes) -> None:
        """Parse the first bytes, and leave the others to a later turn of the event loop."""
        self._unparsed = data[PART_BYTES:]
        self._parse(data[:PART_BYTES])
        if self._transport.is_closing():
            self.clear()
        elif self._unparsed:
            self.flow.hold()
            if not self.flow.read_paused:
                self._parse_later()
        elif not self._pauses:
            self.flow.let_go()

    def _go_on(self) -> None:
        self._pauses = False
        if self._transport.is_closing():
            return
        if self._unparsed:
            self._parse_later()
        else:
            self.flow.let_go()

    def _parse_later(self) -> None:
        if not self._will_parse:
            self._will_parse = True
            self._loop.call_soon(self._parse_rest)

    def _parse_rest(self) -> None:
        self._will_parse = False
        if self._unparsed and not self._pauses and not self._transport.is_closing():
            self._parse_part(self._unparsed)
