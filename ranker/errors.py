"""The one tree of errors.

    WatchnextError
    ├── UserError              what was asked cannot be done: the command line exits with 2 and one line
    │   ├── SpecError          a ranker's description is wrong
    │   ├── SourceError        a log is missing, unreadable or lacks what the spec needs
    │   │   └── LabelError       a label or an example's weight is no number or out of range
    │   ├── FeatureError       a feature's value has the wrong type or range
    │   ├── RegistryError      no such registry or bundle version, or it cannot be read or written
    │   │   └── UnansweredError    a registry does not answer in time
    │   ├── FileError          a file or folder cannot be read or written
    │   ├── LocationError      a path or URL leads nowhere
    │   ├── LockedError        another process is writing the same
    │   ├── UnknownPolicyError   the bundle has no score policy of that name
    │   └── InvalidRequestError  a ranking request carries what the model cannot read
    ├── BundleError            a bundle is damaged, incomplete or of a newer format
    ├── CheckpointError        a checkpoint is damaged or belongs to another run
    ├── StoppedError           a run was stopped by a signal; it can go on
    ├── NonFiniteLossError     training met a loss that is not a number
    ├── StoreError             Redis cannot be started or reached
    │   ├── StoreAwayError     Redis has not answered of late, so it was not asked
    │   ├── StoreUrlError      what was given as Redis's URL is none; a UserError, too
    │   ├── DamagedStateError  a stored feature state is incomplete, changed or of another kind
    │   ├── LogFullError       the log of events has as many entries as it may
    │   └── EventLogError      the log of events has a damaged entry, or lacks some that are needed
    ├── ModelError             the model failed on a request that was valid
    ├── EvictedError           videos of a request left the catalogue while it waited
    └── DeadlinePassedError    a request's deadline passed before its work began

A message says what was expected, what was found, and where. HTTP status codes are given to these in
`serving/http/problem_handlers.py` and nowhere else.
"""

from collections.abc import Sequence
from typing import NamedTuple


class WatchnextError(Exception):
    """Anything that watchnext raises on purpose."""


class UserError(WatchnextError):
    """What was asked cannot be done as asked; the message says how to ask instead."""


class SpecError(UserError):
    """A ranker's description is wrong."""


class SourceError(UserError):
    """A log is missing, unreadable, or lacks what the spec needs."""


class LabelError(SourceError):
    """A label or an example's weight is no number, or out of the range of its kind."""


class FeatureError(UserError):
    """A feature's value has the wrong type or range.

    Attributes:
        feature: The feature's column.
        row: The row that holds the value, counted from 0; None if the whole column is wrong.
    """

    def __init__(self, message: str, *, feature: str, row: int | None = None) -> None:
        super().__init__(message)
        self.feature = feature
        self.row = row


class RegistryError(UserError):
    """No such registry, no such bundle version in it, or a registry that cannot be read or written."""


class UnansweredError(RegistryError):
    """A registry does not answer in time, such as one on a stuck network mount."""


class FileError(UserError):
    """A file or folder cannot be read or written."""


class LocationError(UserError):
    """A path or URL leads nowhere: its scheme, its options or its user's home are unknown."""


class LockedError(UserError):
    """Another process is writing the same."""


class UnknownPolicyError(UserError):
    """The bundle has no score policy of that name."""


class Mistake(NamedTuple):
    """One mistake in a request: where, as a JSON pointer (RFC 6901), and what was expected there."""

    pointer: str
    detail: str


class InvalidRequestError(UserError):
    """A ranking request carries what the model cannot read.

    Attributes:
        mistakes: The first mistakes and where they are; at least one.
        more: How many were found besides.
    """

    def __init__(self, mistakes: Sequence[Mistake], *, more: int = 0) -> None:
        named = "; ".join(f"{m.pointer or 'the request'}: {m.detail}" for m in mistakes)
        super().__init__(named + (f"; and {more} more" if more else ""))
        self.mistakes = mistakes
        self.more = more


class BundleError(WatchnextError):
    """A bundle is damaged, incomplete, or written by a newer watchnext."""


class CheckpointError(WatchnextError):
    """A checkpoint is damaged or belongs to another run."""


class StoppedError(WatchnextError):
    """A run was stopped by a signal and has written a checkpoint, from which it can go on.

    Attributes:
        signal: The signal's number.
    """

    def __init__(self, message: str, *, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


class NonFiniteLossError(WatchnextError):
    """Training met a loss that is not a finite number."""


class StoreError(WatchnextError):
    """Redis cannot be started or reached."""


class StoreAwayError(StoreError):
    """Redis has not answered of late, so it was not asked: nothing was changed."""


class StoreUrlError(StoreError, UserError):
    """What was given as Redis's URL is none, or has options that the client does not know."""


class DamagedStateError(StoreError):
    """A stored feature state is incomplete, changed, or of another kind; reading it again does not help."""


class EventLogError(StoreError):
    """The log of events has an entry that cannot be read, or lacks entries that are still needed."""


class LogFullError(StoreError):
    """The log of events has as many entries as it may, and takes no more until some are trimmed."""


class ModelError(WatchnextError):
    """The model failed on a request that was valid; other requests go on."""


class EvictedError(WatchnextError):
    """Resident videos were evicted after the store was asked; the request has to ask for all its videos."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} videos left the catalogue while their request waited")


class DeadlinePassedError(WatchnextError):
    """A request's deadline passed before its work began."""
