"""The kinds of sources by name, and how one is recognised by `--data`."""

import time
from pathlib import Path
from typing import Final

from ranker.did_you_mean import did_you_mean
from ranker.errors import SourceError
from ranker.event_times import TimeRange
from ranker.files.location import plain
from ranker.files.secrets import shown
from training.sources.base import Source, SourceKind
from training.sources.kuairand.source import KuaiRandSource
from training.sources.parquet import ParquetSource
from training.sources.simulated.source import SimulatedSource

SOURCES: Final[dict[str, type[SourceKind]]] = {
    source.kind: source for source in (KuaiRandSource, ParquetSource, SimulatedSource)
}
"""The kinds by name; the first kind that recognises `--data` opens it."""


def open_source(data: str | None, source: str | None = None, times: TimeRange | None = None) -> Source:
    """Open the source that `--data` and `--source` name.

    Args:
        data: A folder, file, glob or fsspec URL; None for the simulated world.
        source: A key of `SOURCES`; None to recognise the kind by `data`.
        times: The plausible times; None for those from 2000 to a day from now.

    Raises:
        SourceError: No kind recognises the data, the kind does not fit it, the source cannot be opened, or a
            time in it is not plausible.
        LocationError: The data has a home's `~` of a user who is not there.
    """
    if source is not None and source not in SOURCES:
        raise SourceError(
            f"--source: expected {', '.join(SOURCES)}, found '{source}'{did_you_mean(source, SOURCES)}"
        )
    data = data and plain(data)
    kind = SOURCES[source or _recognised(data)]
    if kind.layout is None and data is not None:
        raise SourceError(
            f"--source {kind.kind} makes its own log: expected no --data, found '{shown(data)}'"
        )
    if kind.layout is not None and data is None:
        raise SourceError(f"--source {kind.kind}: expected --data, found none")
    return kind.open(data, times or TimeRange.plausible(time.time_ns() // 1_000_000))


def _recognised(data: str | None) -> str:
    for name, source in SOURCES.items():
        if source.recognises(data):
            return name
    layouts = ", or ".join(source.layout for source in SOURCES.values() if source.layout)
    raise SourceError(f"--data {data}: expected {layouts}; found {_contents(Path(data or '.'))}")


def _contents(path: Path) -> str:
    if not path.exists():
        return "no such file or folder"
    if path.is_file():
        return "a file of another kind"
    names = sorted(entry.name for entry in path.iterdir())
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "an empty folder"
