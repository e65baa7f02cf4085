"""The log of events as Parquet: joined examples by hour and day, in the layout that `--data` reads.

    FOLDER/date=2026-11-27/hour=03/part-1795750000000-0.parquet

A file has the rows of an hour, or of a part of it if there are many, and is named after the entry of its
first impression. It also says where the log goes on after it: whoever archives after a kill goes on behind
the newest file, and writes the same files as one who was never killed.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import redis

from ranker.errors import EventLogError, FileError
from ranker.events import TIME_MS
from ranker.files.lock import locked
from ranker.files.whole import naming, replacing
from ranker.spec import RankerSpec
from ranker.stream.event_log import EntryId
from ranker.stream.joiner import Clock
from training.event_reader import EventReader
from training.sources.base import Offset, Source
from training.sources.live import LiveSource
from training.sources.parquet import ParquetSource

logger = logging.getLogger(__name__)

LOCK_FILE: Final = "archive.lock"
OFFSET: Final = b"watchnext.offset"
"""The key in a file's metadata of where the log goes on after it."""
HOUR_S: Final = 3600
GROUP_ROWS: Final = 65_536
"""Rows of a row group, which are read at once."""
_PREFIX: Final = "part-"


@dataclass(frozen=True)
class ArchiveConfig:
    """What to archive, and where.

    Attributes:
        spec: Names the columns and labels.
        client: Of the Redis that has the log; its answers are bytes.
        folder: Where the files are to be.
        wait_s: How long an impression waits for feedback at least.
        rows_per_file: Rows after which a file ends before its hour does.
        clock: By which time an impression waits.
    """

    spec: RankerSpec
    client: redis.Redis
    folder: Path
    wait_s: float = 60.0
    rows_per_file: int = 500_000
    clock: Clock = Clock.ARRIVAL

    @property
    def reader(self) -> str:
        """The name by which the log knows this archive."""
        return f"archive {self.folder.absolute()}"


@dataclass(frozen=True)
class Archived:
    """What was archived.

    Attributes:
        files: Files that were written.
        rows: Their rows.
    """

    files: int
    rows: int


def archive(config: ArchiveConfig, *, stop: Callable[[], bool]) -> Archived:
    """Write joined examples to files, and let the log drop what is archived, until told to stop.

    Rows of an hour that is not over stay in the log until the next call.

    Args:
        config: The archive.
        stop: Asked every second or so whether to end.

    Raises:
        FileError: The folder cannot be written, or its newest file is none of an archive.
        LockedError: Another process archives in the folder.
        EventLogError: The log lacks entries that were not archived yet.
        StoreError: Redis does not answer at the beginning.
    """
    with naming(config.folder):
        config.folder.mkdir(parents=True, exist_ok=True)
    files = rows = 0
    with locked(config.folder / LOCK_FILE, str(config.folder)):
        for left in config.folder.glob(f"date=*/hour=*/.{_PREFIX}*.new"):
            left.unlink(missing_ok=True)
        reader = EventReader(config.client, config.reader)
        source = LiveSource(
            config.spec,
            config.client,
            wait_s=config.wait_s,
            stop=stop,
            flush_s=HOUR_S,
            clock=config.clock,
            whole_times=True,  # so that no later file has rows of a time that was read
            counts_rejected=reader.is_first,
        )
        newest = next(_files(config.folder), None)
        offset = None if newest is None else offset_of(newest)
        reader.goes_on(source.needed(offset))
        for batch in source.batches(config.rows_per_file, resume_from=offset):
            if batch.records.num_rows:
                path = path_of(config.folder, batch.records)
                _write(path, batch.records, batch.offset)
                logger.info("%s: %d rows", path, batch.records.num_rows)
                files, rows = files + 1, rows + batch.records.num_rows
            reader.done(source.needed(batch.offset), source.reached_ms(batch.offset))
    return Archived(files, rows)


def path_of(folder: Path, records: pa.RecordBatch) -> Path:
    """Where rows of one hour are archived."""
    began = datetime.fromtimestamp(records.column(TIME_MS)[0].as_py() / 1000, UTC)
    name = f"{_PREFIX}{records.column('entry_id')[0].as_py()}.parquet"
    return folder / f"date={began:%Y-%m-%d}" / f"hour={began:%H}" / name


def offset_of(path: Path) -> Offset:
    """Where the log of events goes on after a file of an archive.

    Raises:
        FileError: It is none.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
        found: Offset = json.loads(metadata[OFFSET])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise FileError(f"{path}: expected a file of an archive of events, found {error}") from error
    return found


def offset_after(source: Source) -> Offset | None:
    """Where the log of events goes on after a source; None if that is no archive of it."""
    if not isinstance(source, ParquetSource):
        return None
    offsets = {
        entry: footer.metadata[OFFSET]
        for path, footer in source.footers.items()
        if OFFSET in (footer.metadata or {}) and (entry := _first_entry(Path(path))) is not None
    }
    return json.loads(offsets[max(offsets)]) if offsets else None


def _files(folder: Path) -> Iterator[Path]:
    """The files of an archive, the newest first."""
    for hour in sorted(folder.glob("date=*/hour=*"), reverse=True):
        found = {entry: path for path in hour.iterdir() if (entry := _first_entry(path)) is not None}
        for entry in sorted(found, reverse=True):
            yield found[entry]


def _first_entry(path: Path) -> EntryId | None:
    """The entry that a file of an archive is named after."""
    if not path.name.startswith(_PREFIX) or path.suffix != ".parquet":
        return None
    try:
        return EntryId.of(path.stem.removeprefix(_PREFIX))
    except EventLogError:
        return None


def _write(path: Path, records: pa.RecordBatch, offset: Offset) -> None:
    table = pa.Table.from_batches([records])
    table = table.replace_schema_metadata({OFFSET: json.dumps(offset)})
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as fresh:
        pq.write_table(table, fresh, row_group_size=GROUP_ROWS, compression="zstd")
