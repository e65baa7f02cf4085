"""Offsets that count rows, for logs that are read from their first row each time.

An offset contains a mark of each part of the log, such as a file's size and digest. Resuming compares them
with the present marks and refuses to go on where they differ.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ranker.errors import SourceError
from training.sources.base import Offset, SourceBatch

Model = TypeVar("Model", bound=BaseModel)


class CountedOffset(BaseModel):
    """How many rows of a log were read.

    Attributes:
        since_ms: The first time that was included.
        rows: Rows read from there on.
        marks: A mark of every part of the log by the part's name.
    """

    model_config = ConfigDict(extra="forbid")

    since_ms: int | None
    rows: NonNegativeInt
    marks: dict[str, Any]


def parse_offset(offset: Offset, model: type[Model], *, where: str) -> Model:
    """Parse an offset.

    Args:
        offset: What a source returned, perhaps read back from JSON.
        model: The offset's model of this kind of source.
        where: The source's name, for the message.

    Raises:
        SourceError: The offset is of another kind of source.
    """
    try:
        return model.model_validate(offset)
    except ValidationError as error:
        found = " ".join(str(error).split())
        raise SourceError(f"{where}: expected an offset in this kind of log, found: {found}") from error


def rows_to_skip(
    resume_from: Offset | None, marks: dict[str, Any], *, since_ms: int | None, where: str
) -> int:
    """Return how many rows of a log were read before.

    Args:
        resume_from: A `CountedOffset`; None at the beginning.
        marks: The present marks of the log's parts.
        since_ms: The first time that is included.
        where: The source's name, for the message.

    Raises:
        SourceError: The log changed, or it is read from another time on.
    """
    if resume_from is None:
        return 0
    offset = parse_offset(resume_from, CountedOffset, where=where)
    if offset.since_ms != since_ms:
        raise SourceError(
            f"{where}: expected to go on reading from time_ms {offset.since_ms} on, found {since_ms}"
        )
    for name, expected in offset.marks.items():
        if name not in marks:
            raise SourceError(f"{name}: expected this part of the log, which was learned from, found none")
        refuse_change(name, expected, marks[name])
    if added := sorted(marks.keys() - offset.marks.keys()):
        raise SourceError(f"{added[0]}: expected no such part of the log, as when it was learned from")
    return offset.rows


def refuse_change(name: str, expected: Any, found: Any) -> None:
    """Raise an error if a part of the log has changed.

    Args:
        name: The part's name in the message, such as the file.
        expected: Its mark in the offset.
        found: Its present mark.

    Raises:
        SourceError: The marks differ; the message names the difference.
    """
    if expected == found:
        return
    changes = "it was rewritten"
    if isinstance(expected, dict) and isinstance(found, dict):
        changes = ", ".join(
            f"{key} {expected.get(key)} became {found.get(key)}"
            for key in sorted(expected.keys() | found.keys())
            if expected.get(key) != found.get(key)
        )
    raise SourceError(f"{name}: expected what was learned from at the start of the log, found: {changes}")


def counted(
    batches: Iterable[pa.RecordBatch], marks: dict[str, Any], *, since_ms: int | None, skipped: int
) -> Iterator[SourceBatch]:
    """Pair batches with their offsets.

    Args:
        batches: The rows after those that were read before.
        marks: The marks of the log's parts.
        since_ms: The first time that is included.
        skipped: Rows that were read before.
    """
    rows = skipped
    for batch in batches:
        rows += batch.num_rows
        yield SourceBatch(batch, {"since_ms": since_ms, "rows": rows, "marks": marks})


def file_mark(path: Path) -> dict[str, Any]:
    """Return a file's size in bytes and the sha256 of its content.

    Raises:
        SourceError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise SourceError(f"{path}: expected a readable file, found: {error}") from error
