"""The log of events as a Redis stream."""

from collections.abc import Mapping
from typing import Any, Final

import redis

from ranker.errors import EventLogError, StoreError
from ranker.store.keys import event_readers_key, events_done_key, events_dropped_key, events_key
from ranker.store.records import milliseconds
from ranker.stream.event_log import BEGINNING, Entry, EntryId, EventLog, Extent, Kind

KIND_FIELD: Final = b"k"
DATA_FIELD: Final = b"d"


class RedisEventLog(EventLog):
    """The log as a Redis stream.

    Args:
        client: A connected client whose answers are bytes.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._key = events_key()

    def append(self, kind: Kind, data: bytes) -> EntryId:
        """See `EventLog`."""
        return EntryId.of(self._ask(self._client.xadd, self._key, entry_fields(kind, data)))

    def read(self, after: EntryId, *, count: int, wait_s: float = 0.0) -> list[Entry]:
        """See `EventLog`."""
        block = max(1, round(wait_s * 1000)) if wait_s > 0 else None
        found = self._ask(self._client.xread, {self._key: str(after)}, count=count, block=block)
        dropped = self._ask(self._client.get, events_dropped_key())  # after reading, so that none slips by
        if dropped is not None and after != BEGINNING and EntryId.of(dropped) > after:
            raise EventLogError(
                f"{self._key}: expected the entries after {after}, found that those up to "
                f"{EntryId.of(dropped)} were dropped"
            )
        return [entry_of(number, fields) for _, entries in found or () for number, fields in entries]

    def newest(self, count: int) -> list[EntryId]:
        """See `EventLog`."""
        return [EntryId.of(number) for number, _ in self._ask(self._client.xrevrange, self._key, count=count)]

    def size(self) -> int:
        """Bytes that Redis needs for the log.

        Raises:
            StoreError: The log does not answer.
        """
        return int(self._ask(self._client.memory_usage, self._key) or 0)

    def now_ms(self) -> int:
        """See `EventLog`."""
        return milliseconds(self._ask(self._client.time))

    def extent(self) -> Extent:
        """See `EventLog`."""
        if not self._ask(self._client.exists, self._key):
            return Extent(0, None, None)
        about = self._ask(self._client.xinfo_stream, self._key)
        first = about["first-entry"]
        last = EntryId.of(about["last-generated-id"])
        return Extent(about["length"], None if first is None else EntryId.of(first[0]), last)

    def reached(self, reader: str, before: EntryId, *, done_ms: int | None = None) -> None:
        """See `EventLog`."""
        self._ask(self._client.hset, event_readers_key(), reader, str(before))
        if done_ms is not None:
            self._ask(self._client.hset, events_done_key(), reader, str(done_ms))

    def readers(self) -> Mapping[str, EntryId]:
        """See `EventLog`."""
        found: dict[bytes, bytes] = self._ask(self._client.hgetall, event_readers_key())
        return {name.decode(errors="replace"): EntryId.of(before) for name, before in found.items()}

    def done(self) -> Mapping[str, int]:
        """See `EventLog`."""
        found: dict[bytes, bytes] = self._ask(self._client.hgetall, events_done_key())
        return {name.decode(errors="replace"): int(ms) for name, ms in found.items()}

    def forget(self, reader: str) -> bool:
        """See `EventLog`."""
        self._ask(self._client.hdel, events_done_key(), reader)
        return bool(self._ask(self._client.hdel, event_readers_key(), reader))

    def trim(self) -> int:
        """See `EventLog`."""
        readers = self.readers()
        if not readers:
            return 0
        return self.drop_before(min(readers.values()))

    def drop_before(self, needed: EntryId) -> int:
        """See `EventLog`."""
        last: Any = None
        if needed > BEGINNING:  # before which Redis knows no id
            last = self._ask(self._client.xrevrange, self._key, max=f"({needed}", count=1)
        if not last:
            return 0
        self._ask(self._client.set, events_dropped_key(), last[0][0])
        return int(self._ask(self._client.xtrim, self._key, minid=str(needed), approximate=False))

    def _ask(self, command: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except redis.RedisError as error:
            raise StoreError(f"{self._key}: expected Redis to serve the events, found {error}") from error


def entry_fields(kind: Kind, data: bytes) -> dict[Any, Any]:
    """The fields of an entry, as XADD takes them."""
    return {KIND_FIELD: kind.value, DATA_FIELD: data}


def entry_of(number: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Read an entry as Redis gives it; one that is no entry of this log is of kind `UNKNOWN`."""
    try:
        return Entry(EntryId.of(number), Kind(fields[KIND_FIELD]), fields[DATA_FIELD])
    except (KeyError, ValueError):
        return Entry(EntryId.of(number), Kind.UNKNOWN, b"")
