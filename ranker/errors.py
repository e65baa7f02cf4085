"""The one tree of errors.

    WatchnextError
    ├── UserError              what was asked cannot be done: the command line exits with 2 and one line
    │   ├── SpecError          a ranker's description is wrong
    │   ├── SourceError        a log is missing, unreadable or lacks what the spec needs
    │   ├── FeatureError       a feature's value has the wrong type or range
    │   └── RegistryError      no such registry or bundle version
    ├── BundleError            a bundle is damaged, incomplete or of a newer format
    ├── CheckpointError        a checkpoint is damaged or belongs to another run
    ├── NonFiniteLossError     training met a loss that is not a number
    └── StoreError             Redis cannot be started or reached

A message says what was expected, what was found, and where. HTTP status codes are given to these in
`serving/http/problems.py` and nowhere else.
"""


class WatchnextError(Exception):
    """Anything that watchnext raises on purpose."""


class UserError(WatchnextError):
    """What was asked cannot be done as asked; the message says how to ask instead."""


class SpecError(UserError):
    """A ranker's description is wrong."""


class SourceError(UserError):
    """A log is missing, unreadable, or lacks what the spec needs."""


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
    """No such registry, or no such bundle version in it."""


class BundleError(WatchnextError):
    """A bundle is damaged, incomplete, or written by a newer watchnext."""


class CheckpointError(WatchnextError):
    """A checkpoint is damaged or belongs to another run."""


class NonFiniteLossError(WatchnextError):
    """Training met a loss that is not a finite number."""


class StoreError(WatchnextError):
    """Redis cannot be started or reached."""
