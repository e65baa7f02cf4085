"""Offsets that count rows, for logs that are read from their first row each time.

An offset carries marks of what was read, such as sizes and digests of files. Resuming compares them with the
log's marks of now and refuses to go on where they differ.
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
    """How many rows were taken, of which log.

    Attributes:
        since_ms: The first time that was included.
        rows: Rows taken from there on.
        marks: What the log was made of: a mark for each name.
    """

    model_config = ConfigDict(extra="forbid")

    since_ms: int | None
    rows: NonNegativeInt
    marks: dict[str, Any]


def parse_offset(offset: Offset, model: type[Model], *, where: str) -> Model:
    """Read an offset.

    Args:
        offset: As a source made it, perhaps by way of JSON.
        model: The model of this kind of source.
        where: The source's name, for the message.

    Raises:
        SourceError: It is of another kind of source.
    """
    try:
        return model.model_validate(offset)
    except ValidationError as error:
        found = " ".join(str(error).split())
        raise SourceError(f"{where}: expected an offset in this kind of log, found: {found}") from error


def rows_to_skip(
    resume_from: Offset | None, marks: dict[str, Any], *, since_ms: int | None, where: str
) -> int:
    """How many rows of a log were taken already.

    Args:
        resume_from: A `CountedOffset`; None at the beginning.
        marks: What the log is made of now.
        since_ms: The first time that is included.
        where: The source's name, for the message.

    Raises:
        SourceError: The log is not the one that the offset is of, or is read from another time on.
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
    """Compare two marks of one part of a log.

    Args:
        name: What messages call it, such as the file.
        expected: Its mark when it was learned from.
        found: Its mark now.

    Raises:
        SourceError: They differ; the message says in what.
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
    batches: Iterable[pa.RecordBatch], marks: dict[str, Any], *, since_ms: int | None, taken: int
) -> Iterator[SourceBatch]:
    """Give batches their offsets.

    Args:
        batches: What follows the rows that were taken already.
        marks: What the log is made of.
        since_ms: The first time that is included.
        taken: Rows taken before.
    """
    for batch in batches:
        taken += batch.num_rows
        yield SourceBatch(batch, {"since_ms": since_ms, "rows": taken, "marks": marks})


def file_mark(path: Path) -> dict[str, Any]:
    """A file's size and the sha256 of its content.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    except OSError as error:
        raise SourceError(f"{path}: expected a readable file, found: {error}") from error
