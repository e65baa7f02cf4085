"""KuaiRand's user and video tables; the log is joined with the same rows that serving stores.

Negative numbers such as -124, empty fields, the text UNKNOWN, and id 0 of an author or a piece of music mean
unknown and become null.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ranker.events import USER_ID, VIDEO_ID
from training.sources.kuairand.csv_blocks import csv_blocks

_USER_TEXTS = (
    "user_active_degree",
    "follow_user_num_range",
    "fans_user_num_range",
    "friend_user_num_range",
    "register_days_range",
)
_USER_NUMBERS = (
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    "follow_user_num",
    "fans_user_num",
    "friend_user_num",
    "register_days",
    *(f"onehot_feat{i}" for i in range(18)),
)
UNDATED_USER_COLUMNS = (
    "user_active_degree",
    "follow_user_num",
    "follow_user_num_range",
    "fans_user_num",
    "fans_user_num_range",
    "friend_user_num",
    "friend_user_num_range",
)
"""What a user does changes these. The table does not say of which day they are, so they may hold what the
log's labels tell: who follows an author in the log follows one more in the table."""
_VIDEO_TEXTS = ("video_type", "upload_type")
_VIDEO_IDS = ("author_id", "music_id")
_VIDEO_NUMBERS = ("visible_status", "server_width", "server_height", "music_type")

BEIJING_MS = 8 * 3_600_000
"""Offset of Beijing's time, in which the log counts days, from UTC."""


class FeatureTable:
    """Feature columns indexed by a unique integer id, in memory."""

    def __init__(self, table: pa.Table, key: str) -> None:
        """Index a table.

        Args:
            table: `key` and the feature columns; only the first row of an id is kept.
            key: An int64 column without nulls.
        """
        ids, first = np.unique(table[key].to_numpy(), return_index=True)
        self.table = table.take(first).combine_chunks()
        self._ids: NDArray[np.int64] = ids
        self._features = self.table.drop_columns([key])

    def lookup(self, ids: pa.Array) -> pa.Table:
        """Return the feature columns, without the id, in the order of `ids`.

        Args:
            ids: (N,) int64, nullable.

        Returns:
            N rows; all columns are null where the id is null or unknown.
        """
        wanted = ids.fill_null(0).to_numpy(zero_copy_only=False)
        rows = np.searchsorted(self._ids, wanted)
        known = ids.is_valid().to_numpy(zero_copy_only=False) & np.isin(wanted, self._ids)
        return self._features.take(pa.array(rows, mask=~known))


def read_users(path: Path) -> FeatureTable:
    """Read `user_features_pure`: the official columns, numbers as int64.

    Raises:
        SourceError: The file is unreadable, or a column is missing.
    """
    raw = _read(path, texts=_USER_TEXTS, numbers=(USER_ID, *_USER_NUMBERS))
    columns = {USER_ID: pc.cast(raw[USER_ID], pa.int64())}
    columns |= {name: _text(raw[name]) for name in _USER_TEXTS}
    columns |= {name: _whole(raw[name]) for name in _USER_NUMBERS}
    return FeatureTable(pa.table(columns), USER_ID)


def read_videos(path: Path) -> FeatureTable:
    """Read `video_features_basic_pure`.

    `video_duration` becomes `duration_s`, in seconds, which equals the log's `duration_ms` wherever that is
    known. `tag` becomes the list `tags`. `upload_dt`, a day in Beijing, becomes `upload_time_ms`, the day's
    first millisecond.

    Raises:
        SourceError: The file is unreadable, or a column is missing.
    """
    raw = _read(
        path,
        texts=("upload_dt", "tag", *_VIDEO_TEXTS),
        numbers=(VIDEO_ID, "video_duration", *_VIDEO_IDS, *_VIDEO_NUMBERS),
    )
    duration_s = pc.divide(raw["video_duration"], 1000.0)
    columns = {VIDEO_ID: pc.cast(raw[VIDEO_ID], pa.int64())}
    columns |= {name: _whole(raw[name], minimum=1) for name in _VIDEO_IDS}
    columns |= {name: _text(raw[name]) for name in _VIDEO_TEXTS}
    columns |= {name: _whole(raw[name]) for name in _VIDEO_NUMBERS}
    columns["tags"] = pc.split_pattern(raw["tag"], ",")
    columns["duration_s"] = pc.if_else(pc.greater(duration_s, 0.0), duration_s, None)
    uploaded = raw["upload_dt"].cast(pa.date32()).cast(pa.timestamp("ms")).cast(pa.int64())
    columns["upload_time_ms"] = pc.subtract(uploaded, BEIJING_MS)
    return FeatureTable(pa.table(columns), VIDEO_ID)


def _read(path: Path, *, texts: tuple[str, ...], numbers: tuple[str, ...]) -> pa.Table:
    # Columns with gaps have whole numbers as 4.0, so all are read as float64, which is exact up to 2^53
    types = dict.fromkeys(texts, pa.string()) | dict.fromkeys(numbers, pa.float64())
    schema = pa.schema(list(types.items()))
    return pa.Table.from_batches(csv_blocks(path, types), schema=schema).combine_chunks()


def _whole(numbers: pa.ChunkedArray, *, minimum: int = 0) -> pa.ChunkedArray:
    return pc.if_else(pc.greater_equal(numbers, minimum), numbers, None).cast(pa.int64())


def _text(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, "UNKNOWN"), None, texts)
