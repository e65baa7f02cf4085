"""KuaiRand-Pure: real impressions of a short-video app.

Source: Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos",
CIKM 2022, https://doi.org/10.1145/3511808.3557624.
"""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import pyarrow.compute as pc

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.events import QUERY_PREFIX, QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from training.sources.base import Offset, SideTable, SourceBatch, SourceKind
from training.sources.kuairand.history import ViewerHistory
from training.sources.kuairand.log import LOG_SCHEMA, read_log
from training.sources.kuairand.tables import BEIJING_MS, UNDATED_USER_COLUMNS, read_users, read_videos
from training.sources.merge import rebatch
from training.sources.offsets import counted, file_mark, rows_to_skip

STANDARD_LOGS = (
    "log_standard_4_08_to_4_21_pure",
    "log_standard_4_22_to_5_08_pure",
    "log_standard_4_25_to_5_04_pure",
)
RANDOM_LOG = "log_random_4_22_to_5_08_pure"
USER_TABLE = "user_features_pure"
VIDEO_TABLE = "video_features_basic_pure"

_HOUR_MS = 3_600_000
_TABLE_ROWS = 8192


def kuairand_layout(folder: Path) -> Path | None:
    """Return the folder that holds KuaiRand-Pure's log: the given one or its `data`; None if neither does."""
    for candidate in (folder, folder / "data"):
        if any(_find(candidate, stem) for stem in STANDARD_LOGS):
            return candidate
    return None


def _find(folder: Path, stem: str) -> Path | None:
    for path in (folder / f"{stem}.csv", folder / f"{stem}.csv.gz"):
        if path.is_file():
            return path
    return None


def _existing(folder: Path, stem: str) -> Path:
    path = _find(folder, stem)
    if path is None:
        raise SourceError(f"{folder}: expected {stem}.csv or {stem}.csv.gz beside the log, found neither")
    return path


class KuaiRandSource(SourceKind):
    """The standard-policy log in a folder of the official layout, joined with its users and videos.

    Columns: the ids and `query_video_id`; `position`, a PROXY (the rank in the viewer's session, because the
    log has no positions); `tab`, and `hour` (0 to 23) and `weekday` (0 is Monday) in Beijing; the user
    table's columns; the video table's columns, and again with the prefix `query_` for the query video; the
    labels click, long_view, like, follow, comment, forward, profile_enter and dismiss (0 or 1) and watch_time
    in seconds; and labels derived from the log's durations: finish, skip (less than three seconds),
    comments_open (0 or 1) and watched_share, the watch time over the video's length, at most 2.

    All logs in the folder are read as one. An impression that two of them contain, such as the official log
    and an excerpt of ten days, counts once.
    """

    kind: ClassVar[str] = "kuairand"
    layout: ClassVar[str | None] = (
        f"KuaiRand's {' or '.join(STANDARD_LOGS)}, as .csv or .csv.gz, there or in data/"
    )
    preset: ClassVar[str | None] = "kuairand"

    def __init__(
        self, folder: str | Path, *, include_random: bool = False, times: TimeRange | None = None
    ) -> None:
        """Find the files, and read the users and videos into memory.

        Args:
            folder: The folder with the CSV files, plain or gzipped, or the parent of a `data` folder with
                them.
            include_random: Also read the impressions of the random policy.
            times: The plausible times; `batches` refuses a row outside. None if all times are.

        Raises:
            SourceError: A file is missing or unreadable.
        """
        self.name = f"kuairand {folder}"
        self._times = times
        found = kuairand_layout(Path(folder))
        if found is None:
            raise SourceError(
                f"{folder}: expected {' or '.join(STANDARD_LOGS)}, as .csv or .csv.gz, there or in data/, "
                "found none of them"
            )
        self._logs = [path for stem in STANDARD_LOGS if (path := _find(found, stem))]
        if include_random:
            self._logs.append(_existing(found, RANDOM_LOG))
        tables = [_existing(found, stem) for stem in (USER_TABLE, VIDEO_TABLE)]
        self._files = [*self._logs, *tables]
        users_ms = tables[0].stat().st_mtime_ns // 1_000_000
        self._side_tables = (SideTable(str(tables[0]), UNDATED_USER_COLUMNS, users_ms),)
        self._users, self._videos = read_users(tables[0]), read_videos(tables[1])
        self._time_range: tuple[int, int] | None = None
        followed = ViewerHistory().follow(LOG_SCHEMA.empty_table()).schema
        self._schema = self._join(pa.RecordBatch.from_pylist([], schema=followed)).schema

    @classmethod
    def recognises(cls, data: str | None) -> bool:
        """Whether the folder or its `data` folder has a log of the official layout."""
        return data is not None and kuairand_layout(Path(data)) is not None

    @classmethod
    def open(cls, data: str | None, times: TimeRange) -> Self:
        """Open a folder; see `SourceKind.open`."""
        assert data is not None
        return cls(data, times=times)

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches."""
        return self._schema

    @property
    def side_tables(self) -> tuple[SideTable, ...]:
        """The user table with the columns that users change; the video table's stay as they are."""
        return self._side_tables

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """Yield the examples in event-time order; see `Source.batches`.

        The rows before `since_ms` are read, too, because query videos and positions are derived from them.
        For the same reason resuming reads the log from its first row, and needs every file unchanged.
        """
        skip_rows = rows_to_skip(resume_from, self._marks, since_ms=since_ms, where=self.name)
        followed = rebatch(self._followed(since_ms, until_ms), rows, skip_rows=skip_rows)
        joined = (self._join(batch) for batch in followed)
        yield from counted(joined, self._marks, since_ms=since_ms, skipped=skip_rows)

    def time_range(self) -> tuple[int, int] | None:
        """Known once the log is sorted, before its first batch; see `Source.time_range`."""
        return self._time_range

    def users(self) -> Iterator[pa.RecordBatch]:
        """Yield the user table."""
        yield from self._users.table.to_batches(max_chunksize=_TABLE_ROWS)

    def videos(self) -> Iterator[pa.RecordBatch]:
        """Yield the video table."""
        yield from self._videos.table.to_batches(max_chunksize=_TABLE_ROWS)

    @cached_property
    def _marks(self) -> dict[str, Any]:
        return {path.name: file_mark(path) for path in self._files}

    def _note_range(self, first_ms: int, last_ms: int) -> None:
        self._time_range = first_ms, last_ms

    def _followed(self, since_ms: int | None, until_ms: int | None) -> Iterator[pa.Table]:
        history = ViewerHistory()
        noted = self._note_range
        for table in read_log(self._logs, until_ms=until_ms, times=self._times, note_range=noted):
            table = history.follow(table)
            yield table if since_ms is None else table.filter(pc.field(TIME_MS) >= since_ms)

    def _join(self, log: pa.RecordBatch) -> pa.RecordBatch:
        beijing_hours = (log[TIME_MS].to_numpy() + BEIJING_MS) // _HOUR_MS
        columns = {name: log[name] for name in log.schema.names}
        columns["hour"] = pa.array(beijing_hours % 24)
        columns["weekday"] = pa.array((beijing_hours // 24 + 3) % 7)  # 1970-01-01 was a Thursday
        for prefix, table, ids in (
            ("", self._users, log[USER_ID]),
            ("", self._videos, log[VIDEO_ID]),
            (QUERY_PREFIX, self._videos, log[QUERY_VIDEO_ID]),
        ):
            found = table.lookup(ids)
            columns |= {prefix + name: found[name].combine_chunks() for name in found.column_names}
        return pa.RecordBatch.from_pydict(columns)
