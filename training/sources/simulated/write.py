"""The simulated world written to disk, in the layout that `ParquetSource` reads."""

import os
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from ranker.errors import SourceError
from ranker.events import QUERY_PREFIX, TIME_MS
from training.sources.parquet import USER_TABLE, VIDEO_TABLE
from training.sources.simulated.population import DAY_MS, EPOCH_MS, WorldConfig
from training.sources.simulated.source import SimulatedSource
from training.sources.simulated.world_file import WORLD_FILE, WorldFile

_GROUP_ROWS = 8192
_TIMES = (TIME_MS, "upload_time_ms", QUERY_PREFIX + "upload_time_ms")


def write_simulation(
    out: Path, days: int, seed: int, config: WorldConfig | None = None, *, speed: float | None = None
) -> int:
    """Write the log, one file a day, the tables of users and videos, and which world it is.

    The files are written to a temporary folder, which is then renamed, so `out` is complete or absent.

    Args:
        out: The folder to create; an existing one must be empty.
        days: Length of the log.
        seed: Seed of the world.
        config: Sizes and effect strengths of the world; the defaults if None.
        speed: Seconds of the world in a second of the log, which then ends now; None for the
            world's own times.

    Returns:
        The number of impressions.

    Raises:
        SourceError: `out` is not empty or cannot be written, or `days` or `seed` is out of range.
    """
    source, config = SimulatedSource(days, seed, config), config or WorldConfig()
    made = WorldFile.of_log if speed is None else partial(WorldFile.ending_now, speed=speed)
    world = made(config, seed, days)
    rows = 0
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SourceError(f"{out}: expected a new or empty folder, found something in its place")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simulating-", dir=out.parent) as aside:
            folder = Path(aside) / "log"
            folder.mkdir()
            for day in track(range(days), "Simulating", console=Console(stderr=True)):
                start_ms = EPOCH_MS + day * DAY_MS
                date = datetime.fromtimestamp(start_ms / 1000, UTC).date()
                with pq.ParquetWriter(folder / f"{date}.parquet", source.schema) as writer:
                    for batch in source.records(_GROUP_ROWS, since_ms=start_ms, until_ms=start_ms + DAY_MS):
                        writer.write_batch(_at_event_times(batch, world))  # one row group per batch
                        rows += batch.num_rows
            for name, batches in ((USER_TABLE, source.users()), (VIDEO_TABLE, source.videos())):
                table = pa.Table.from_batches([_at_event_times(batch, world) for batch in batches])
                pq.write_table(table, folder / name)
            (folder / WORLD_FILE).write_text(world.model_dump_json(indent=2) + "\n")
            os.replace(folder, out)
    except OSError as error:
        raise SourceError(f"{out}: expected a folder that can be written, found: {error}") from error
    return rows


def _at_event_times(batch: pa.RecordBatch, world: WorldFile) -> pa.RecordBatch:
    """Turn the world's times into those of the log."""
    for index, name in enumerate(batch.schema.names):
        if name in _TIMES:
            times = batch.column(name)
            event_ms = world.event_ms(times.fill_null(0).to_numpy())
            mapped = pa.array(event_ms, mask=times.is_null().to_numpy(zero_copy_only=False))
            batch = batch.set_column(index, batch.schema.field(index), mapped)
    return batch
