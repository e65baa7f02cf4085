"""The simulated world written to disk, in the layout that `ParquetSource` reads."""

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track

from ranker.errors import SourceError
from training.sources.parquet import USER_TABLE, VIDEO_TABLE
from training.sources.simulated.population import DAY_MS, EPOCH_MS, WorldConfig
from training.sources.simulated.source import SimulatedSource

_GROUP_ROWS = 8192


def write_simulation(out: Path, days: int, seed: int, config: WorldConfig | None = None) -> int:
    """Write the log, one file a day, and the tables of users and videos.

    The files are written to a temporary folder, which is then renamed, so `out` is complete or absent.

    Args:
        out: The folder to create; an existing one must be empty.
        days: Length of the log.
        seed: Seed of the world.
        config: Sizes and effect strengths of the world; the defaults if None.

    Returns:
        The number of impressions.

    Raises:
        SourceError: `out` is not empty or cannot be written, or `days` or `seed` is out of range.
    """
    source = SimulatedSource(days, seed, config)
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
                        writer.write_batch(batch)  # one row group per batch
                        rows += batch.num_rows
            for name, batches in ((USER_TABLE, source.users()), (VIDEO_TABLE, source.videos())):
                pq.write_table(pa.Table.from_batches(batches), folder / name)
            os.replace(folder, out)
    except OSError as error:
        raise SourceError(f"{out}: expected a folder that can be written, found: {error}") from error
    return rows
