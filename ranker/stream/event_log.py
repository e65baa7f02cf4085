"""The log of events: impressions and feedback in one order, which everyone who reads it sees alike.

An id is the time at which an entry arrived and a number among those of the same millisecond, both given by
the server: ids rise strictly, whatever the clocks of those who write. Whoever reads the log from an offset
comes to the same state.

The log is a Redis stream behind a small interface, `append`, `read` and `trim`, so that a partitioned log can
take its place.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from ranker.errors import EventLogError

LAST_NUMBER: Final = 2**64 - 1
"""The highest number among entries of one millisecond."""


class Kind(Enum):
    """What an entry of the log is."""

    IMPRESSION = b"i"
    FEEDBACK = b"f"
    UNKNOWN = b""
    """Something that was not written as an entry of this log."""


class EntryId(NamedTuple):
    """Where an entry stands in the log.

    Attributes:
        ms: When it arrived, Unix epoch in milliseconds, by the server's clock.
        number: Among those of the same millisecond.
    """

    ms: int
    number: int

    @classmethod
    def of(cls, text: str | bytes) -> "EntryId":
        """Read an id as Redis writes it, such as `1790000000000-0`.

        Raises:
            EventLogError: It is none.
        """
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        ms, dash, number = text.partition("-")
        if not (dash and ms.isdecimal() and number.isdecimal()):
            raise EventLogError(f"expected the id of an entry, such as 1790000000000-0, found {text!r:.60}")
        return cls(int(ms), int(number))

    def next(self) -> "EntryId":
        """The least id after this one."""
        return EntryId(self.ms, self.number + 1) if self.number < LAST_NUMBER else EntryId(self.ms + 1, 0)

    def previous(self) -> "EntryId":
        """The greatest id before this one; there is none before 0-0."""
        return EntryId(self.ms, self.number - 1) if self.number else EntryId(self.ms - 1, LAST_NUMBER)

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"


BEGINNING: Final = EntryId(0, 0)
"""Before the first entry of any log."""


@dataclass(frozen=True)
class Entry:
    """An entry of the log.

    Attributes:
        id: Where it stands.
        kind: What it is.
        data: Its content, see `impressions.py` and `feedback.py`.
    """

    id: EntryId
    kind: Kind
    data: bytes


@dataclass(frozen=True)
class Extent:
    """How much is in the log.

    Attributes:
        entries: How many.
        first: The oldest that is still there; None if there is none.
        last: The newest that was ever written; None before the first.
    """

    entries: int
    first: EntryId | None
    last: EntryId | None


class EventLog(ABC):
    """A log of events, as its readers see it."""

    @abstractmethod
    def append(self, kind: Kind, data: bytes) -> EntryId:
        """Write an entry at the end.

        Raises:
            StoreError: The log does not answer; it is not known whether the entry was written.
        """

    @abstractmethod
    def read(self, after: EntryId, *, count: int, wait_s: float = 0.0) -> list[Entry]:
        """The next entries after an offset, oldest first; none if none comes within `wait_s`.

        Raises:
            EventLogError: Entries after the offset may have been dropped.
            StoreError: The log does not answer.
        """

    @abstractmethod
    def newest(self, count: int) -> list[EntryId]:
        """The ids of the newest entries, the newest first.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def now_ms(self) -> int:
        """The server's clock: every entry that is not written yet gets this time or a later one.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def extent(self) -> Extent:
        """How much is in the log.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def reached(self, reader: str, before: EntryId, *, done_ms: int | None = None) -> None:
        """Note that a reader needs nothing before an entry any more, even if it starts again.

        Args:
            reader: Its name.
            before: The entry.
            done_ms: The event time up to which it has done its work, for those who watch it; None to leave
                what was noted before.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def readers(self) -> Mapping[str, EntryId]:
        """From which entry on each reader still needs the log.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def done(self) -> Mapping[str, int]:
        """The event time up to which each reader has done its work, Unix epoch in milliseconds.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def forget(self, reader: str) -> bool:
        """Keep nothing for a reader any more; return whether it was known.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def drop_before(self, needed: EntryId) -> int:
        """Drop all entries before one, whoever needs them, and say how many; readers are told by an error.

        Raises:
            StoreError: The log does not answer.
        """

    @abstractmethod
    def trim(self) -> int:
        """Drop what no reader needs any more, and say how many entries; nothing without a reader.

        Raises:
            StoreError: The log does not answer.
        """
