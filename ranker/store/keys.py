"""Names of the keys in Redis; every key of watchnext starts with the same prefix.

A digest in a key names the layout of the records there, so that models with other columns live side by side.
"""

from typing import Final

PREFIX: Final = "watchnext:"


def users_key(layout: str) -> str:
    """Where viewers' records stand: a hash, id to record."""
    return f"{PREFIX}users:{layout}"


def videos_key(layout: str) -> str:
    """Where videos' records stand: a hash, id to record."""
    return f"{PREFIX}videos:{layout}"


def changes_key(layout: str) -> str:
    """Where changes of videos are announced: a stream of entries with the field `ids`, a JSON list."""
    return f"{PREFIX}changes:{layout}"


def load_key(source: str) -> str:
    """How far the loading of a source has come: a hash of counts."""
    return f"{PREFIX}load:{source}"


def state_key(digest: str) -> str:
    """What the newest feature state is: JSON, see `ranker/store/state_store.py`."""
    return f"{PREFIX}state:{digest}"


def state_part_key(digest: str, version: str, part: int) -> str:
    """Where a part of a feature state's content stands."""
    return f"{state_key(digest)}:{version}:{part}"
