"""Filling the feature store from a source."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import redis
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ranker.spec import RankerSpec
from ranker.store.features import FeatureWriter
from training.sources.base import Source


@dataclass(frozen=True)
class Loaded:
    """How many records were written."""

    users: int
    videos: int


def load_features(client: redis.Redis, spec: RankerSpec, source: Source, console: Console) -> Loaded:
    """Write every user and video of a source to the store, in place of what is there of them.

    Args:
        client: The store.
        spec: Names the columns.
        source: Where the records are.
        console: For the progress.

    Raises:
        SourceError: The source lacks a column.
    """
    writer = FeatureWriter(client)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def write(what: str, batches: Iterable[pa.RecordBatch], put: Callable[[pa.RecordBatch], int]) -> int:
            task = progress.add_task(what, total=None)
            written = 0
            for batch in batches:
                written += put(batch)
                progress.update(task, completed=written)
            return written

        return Loaded(
            write("users", source.users(), lambda batch: writer.write_users(batch, spec.user_columns)),
            write("videos", source.videos(), lambda batch: writer.write_videos(batch, spec.video_columns)),
        )
