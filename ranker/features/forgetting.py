"""The rows that find what is known of a deleted viewer or video.

What is known of a viewer with a tag, say, is kept by a hash of both, which nobody can read. It is found again
by hashing the viewer with the tags of the videos that there are, and with every known value of each category.

Shape letters: R rows, W words of a record, V videos.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ranker.events import QUERY_VIDEO_ID, USER_ID, VIDEO_ID
from ranker.features.record import MISSING_KEY, RecordLayout, Words


class Beside(NamedTuple):
    """What deleted ids may be known together with.

    Attributes:
        videos: (V, W) stored records of videos.
        layout: Of those records.
    """

    videos: Words
    layout: RecordLayout


def rows_with(
    column: str,
    name: str,
    records: RecordLayout,
    beside: Beside | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Words, Words]:
    """Rows that have an id, and the same rows without it.

    Args:
        column: `user_id` or `video_id`.
        name: The id.
        records: The layout of the rows.
        beside: Videos that a viewer may be known with; None for none.
        categories: Values by column that the id may be known with.

    Returns:
        (R, W) and (R, W).
    """
    without = [records.missing(1)]
    if beside is not None and column == USER_ID:
        mine, theirs = records.shared_words(beside.layout)
        videos = records.missing(len(beside.videos))
        videos[:, mine] = beside.videos[:, theirs]
        without.append(videos)
    named = [{key: value} for key, values in (categories or {}).items() for value in values]
    if named:
        without.append(records.of_rows(named))
    rows = np.concatenate(without)
    columns = (VIDEO_ID, QUERY_VIDEO_ID) if column == VIDEO_ID else (column,)
    own = records.of_rows([dict.fromkeys(columns, name)])[0]
    here = own != records.missing(1)[0]
    words = rows.copy()
    words[:, here] = own[here]
    rows[:, here] = records.missing(1)[0, here]
    return words, rows


def keys_of(keys: Words, without: Words) -> Words:
    """The keys that some rows have, and the same rows without an id do not.

    Args:
        keys: Of the rows, in any shape; MISSING_KEY where missing.
        without: As many keys, of the rows without the id.

    Returns:
        Each key once.
    """
    found: Words = np.unique(keys[(keys != MISSING_KEY) & (without == MISSING_KEY)])
    return found
