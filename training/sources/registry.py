"""Telling a source from what `--data` names."""

from pathlib import Path

from fsspec.core import has_magic

from ranker.errors import SourceError
from training.sources.base import Source
from training.sources.kuairand.source import STANDARD_LOGS, KuaiRandSource, kuairand_layout
from training.sources.parquet import ParquetSource
from training.sources.simulated.source import SimulatedSource

SOURCES = ("kuairand", "parquet", "simulated")


def open_source(data: str | None, source: str | None = None) -> Source:
    """Open the source that `--data` and `--source` name.

    Args:
        data: A folder, file, glob or fsspec URL; None for the simulated world.
        source: One of `SOURCES`; None to recognise it.

    Raises:
        SourceError: Not recognised, or the two do not go together, or the source cannot be opened.
    """
    if source is not None and source not in SOURCES:
        raise SourceError(f"--source: expected {', '.join(SOURCES)}, found '{source}'")
    if source is None:
        source = "simulated" if data is None else _recognise(data)
    if source == "simulated":
        if data is not None:
            raise SourceError(f"--source simulated makes its own log: expected no --data, found '{data}'")
        return SimulatedSource()
    if data is None:
        raise SourceError(f"--source {source}: expected --data, found none")
    return KuaiRandSource(data) if source == "kuairand" else ParquetSource(data)


def _recognise(data: str) -> str:
    path = Path(data)
    if kuairand_layout(path) is not None:
        return "kuairand"
    if "://" in data or has_magic(data) or path.suffix == ".parquet" or any(path.rglob("*.parquet")):
        return "parquet"
    raise SourceError(
        f"--data {data}: expected KuaiRand's {' or '.join(STANDARD_LOGS)}, as .csv or .csv.gz, there or in "
        f"data/, or *.parquet files, a glob or a URL; found {_contents(path)}"
    )


def _contents(path: Path) -> str:
    if not path.exists():
        return "no such file or folder"
    if path.is_file():
        return "a file of another kind"
    names = sorted(entry.name for entry in path.iterdir())
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "an empty folder"
