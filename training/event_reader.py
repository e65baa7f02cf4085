"""A reader of the log of events, and what it still needs there."""

import logging

import redis

from ranker.errors import EventLogError, StoreError
from ranker.stream.event_log import BEGINNING, EntryId
from ranker.stream.redis_event_log import RedisEventLog

logger = logging.getLogger(__name__)


class EventReader:
    """Keeps entries in the log as long as the reader needs them.

    From the beginning on nothing is dropped, until the reader has said how far it has come.

    Args:
        client: Of the Redis that has the log; its answers are bytes.
        name: The reader's.

    Attributes:
        is_first: Whether nobody else reads the log.

    Raises:
        StoreError: The log does not answer.
    """

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._log = RedisEventLog(client)
        self._name = name
        readers = self._log.readers()
        self.is_first = not readers.keys() - {name}
        self._needed_before = readers.get(name)
        self._log.reached(name, BEGINNING)

    def withdraw(self) -> None:
        """Let everything be as it was before, as the log is not read after all.

        Raises:
            StoreError: The log does not answer.
        """
        if self._needed_before is None:
            self._log.forget(self._name)
        else:
            self._log.reached(self._name, self._needed_before)

    def goes_on(self, needed: EntryId) -> None:
        """Say from which entry on the log is read.

        Raises:
            StoreError: The log does not answer.
        """
        self._log.reached(self._name, needed)

    def done(self, needed: EntryId, done_ms: int | None) -> None:
        """Say what is safe on the disk, and drop what no reader needs; if Redis is away, the next time.

        Args:
            needed: The first entry that is needed by one who goes on from there.
            done_ms: The event time up to which that is.
        """
        try:
            self._log.reached(self._name, needed, done_ms=done_ms)
            self._log.trim()
        except EventLogError:
            raise
        except StoreError as error:
            logger.warning("%s; the log of events is trimmed later", error)
