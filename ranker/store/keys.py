"""Names of the keys in Redis; all of them start with the same prefix.

A digest in a key identifies the layout of the records there, so that models with other columns can share one
Redis.
"""

from typing import Final

PREFIX: Final = "watchnext:"


def users_key(layout: str) -> str:
    """Return the key of the viewers' records: a hash from id to record."""
    return f"{PREFIX}users:{layout}"


def videos_key(layout: str) -> str:
    """Return the key of the videos' records: a hash from id to record."""
    return f"{PREFIX}videos:{layout}"


def changes_key(layout: str) -> str:
    """Return the key of the stream that announces changed videos: entries with `ids`, a JSON list."""
    return f"{PREFIX}changes:{layout}"


def load_key(source: str) -> str:
    """Return the key of the progress of loading a source: a hash of row counts."""
    return f"{PREFIX}load:{source}"


def state_key(digest: str) -> str:
    """Return the key of the newest feature state's description: JSON of a `StatePointer`."""
    return f"{PREFIX}state:{digest}"


def state_part_key(digest: str, version: str, part: int) -> str:
    """Return the key of one part of a feature state's content."""
    return f"{state_key(digest)}:{version}:{part}"


def deleted_users_key() -> str:
    """Return the key of the deleted viewers: a sorted set of ids by the time of deletion."""
    return f"{PREFIX}deleted:users"


def deleted_videos_key() -> str:
    """Return the key of the deleted videos, as of the viewers."""
    return f"{PREFIX}deleted:videos"


def events_key() -> str:
    """Return the key of the log of events: a stream of impressions and feedback."""
    return f"{PREFIX}events"


def event_readers_key() -> str:
    """Return the key of the readers of the log of events: a hash from name to the first id still needed."""
    return f"{PREFIX}events:readers"


def events_done_key() -> str:
    """Return the key of how far readers of the log of events have come: a hash from name to event time."""
    return f"{PREFIX}events:done"


def events_dropped_key() -> str:
    """Return the key of the id of the newest entry that was dropped from the log of events."""
    return f"{PREFIX}events:dropped"


def rejected_key() -> str:
    """Return the key of the events that were set aside: a stream of some of the latest, with the reason."""
    return f"{PREFIX}events:rejected"


def rejected_counts_key() -> str:
    """Return the key of the counts of events that were set aside: a hash by reason."""
    return f"{PREFIX}events:rejected:counts"


def texts_key(seed: int) -> str:
    """Return the key of the texts behind hashed words: a hash from 8 bytes to UTF-8."""
    return f"{PREFIX}texts:{seed}"


def layouts_key() -> str:
    """Return the key of the layouts of records in impressions: a hash from digest to JSON."""
    return f"{PREFIX}layouts"


def exports_key(trainer: str) -> str:
    """Return the key of the requests that a trainer gets to export now: a list of their ids."""
    return f"{PREFIX}exports:{trainer}"


def export_answer_key(request: str) -> str:
    """Return the key of the answer to a request to export now: a list of one JSON object."""
    return f"{PREFIX}exported:{request}"


def trainer_reports_key() -> str:
    """Return the key of what trainers say of themselves: a hash from name to JSON of a `TrainerReport`."""
    return f"{PREFIX}reports:trainers"


def service_reports_key() -> str:
    """Return the key of what processes of services say: a hash from name to JSON of a `ServiceReport`."""
    return f"{PREFIX}reports:services"
