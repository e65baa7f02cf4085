"""The columns of files that others wrote, brought to one schema.

A column that some files lack is missing there, as a null is. Ids and times are checked here, since no row can
be used without them.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from ranker.errors import FeatureError, SourceError
from ranker.events import TIME_MS
from ranker.features.entity_ids import checked_ids
from training.sources.column_types import EVENT_IDS, common_id_type, common_type, id_type, plain_type

logger = logging.getLogger(__name__)


def file_schema(schema: pa.Schema, *, required: Collection[str], where: str) -> pa.Schema:
    """The plain types of a file's columns.

    Args:
        schema: As the file has it.
        required: Columns that must be there.
        where: The file, for messages.

    Raises:
        SourceError: A column is there twice, a required one is not, or ids or times have a type that cannot
            hold them.
    """
    name, count = Counter(schema.names).most_common(1)[0] if schema.names else ("", 0)
    if count > 1:
        raise SourceError(f"{where}: expected each column once, found {count} columns '{name}'")
    for name in required:
        if name not in schema.names:
            found = ", ".join(schema.names) or "no columns"
            raise SourceError(f"{where}: expected a column '{name}', found {found}")
    fields = {field.name: plain_type(field.type) for field in schema}
    for name in (name for name in EVENT_IDS if name in fields):
        kind, fields[name] = fields[name], id_type(fields[name])
        if fields[name] is None:
            raise SourceError(f"{where}: expected column '{name}' to be text or whole numbers, found {kind}")
    if TIME_MS in required and not _holds_times(fields[TIME_MS]):
        raise SourceError(
            f"{where}: expected '{TIME_MS}' in whole milliseconds since 1970, or as a timestamp, "
            f"found {fields[TIME_MS]}"
        )
    return pa.schema(fields)


def common_schema(files: Mapping[str, pa.Schema]) -> pa.Schema:
    """The schema in which the rows of all files are read: the first one's columns, then the others'.

    Args:
        files: What `file_schema` gave for each.

    Raises:
        SourceError: Two files have a column in types that cannot be brought together; it names both.
    """
    fields: dict[str, Any] = {}
    first: dict[str, str] = {}
    lacking: dict[str, list[str]] = {}
    for path, schema in files.items():
        for field in schema:
            name = field.name
            known = fields.get(name, field.type)
            common = (common_id_type if name in EVENT_IDS else common_type)(known, field.type)
            if name == TIME_MS:
                common = pa.int64()
            if common is None:
                raise SourceError(
                    f"{path}: expected column '{name}' to be {known} as in {first[name]}, found {field.type}"
                )
            fields[name] = common
            if not types.is_null(field.type):
                first.setdefault(name, path)
    for path, schema in files.items():
        for name in fields.keys() - set(schema.names):
            lacking.setdefault(name, []).append(path)
    for name in sorted(lacking):
        logger.warning(
            "column '%s' is missing in %d of %d files, such as %s: it counts as missing in their rows",
            name,
            len(lacking[name]),
            len(files),
            lacking[name][0],
        )
    for name in EVENT_IDS:
        if name in fields and types.is_null(fields[name]):
            fields[name] = pa.string()
    return pa.schema(fields)


def conform(
    table: pa.Table, schema: pa.Schema, *, identified: Collection[str], path: str, first_row: int
) -> pa.Table:
    """Rows of a file in the common schema.

    Args:
        table: R rows with some columns of the schema.
        schema: What `common_schema` gave, or a part of it.
        identified: Columns that have a value in every row.
        path: The file, for messages.
        first_row: The number of the first of these rows in the file, from 0.

    Raises:
        SourceError: An id or a value does not fit; it names the file, the column and, of an id, the row.
    """
    columns = []
    for field in schema:
        name, kind = field.name, field.type
        if name not in table.column_names:
            columns.append(pa.nulls(len(table), kind))
            continue
        try:
            columns.append(_converted(table[name], name, kind))
        except FeatureError as error:
            row = first_row + (error.row or 0)
            message = str(error).removesuffix(f" in row {error.row}")
            raise SourceError(f"{path}, row {row}: {message}") from error
        except pa.ArrowException as error:
            raise SourceError(
                f"{path}: column '{name}': expected values that {kind} can hold, "
                f"found {table[name].type}: {error}"
            ) from error
        if name in identified and columns[-1].null_count:
            row = first_row + pc.index(columns[-1].is_null(), True).as_py()
            raise SourceError(f"{path}, row {row}: expected a '{name}' in every row, found none")
    return pa.Table.from_arrays(columns, schema=schema)


def event_ms(column: Any) -> Any:
    """A column of times in milliseconds, int64: whole numbers as they are, timestamps by their unit.

    A timestamp without a zone is in UTC.
    """
    kind = column.type
    if types.is_timestamp(kind):
        column = column.cast(pa.timestamp("ms", tz=kind.tz), safe=kind.unit == "s")
    return column.cast(pa.int64())


def _converted(column: pa.ChunkedArray, name: str, kind: Any) -> Any:
    if column.null_count == len(column):
        return pa.nulls(len(column), kind)
    plain = plain_type(column.type)
    if plain != column.type:
        column = column.cast(plain)
    if name == TIME_MS:
        return event_ms(column)
    if name in EVENT_IDS:
        column = checked_ids(column, name)
    return column if column.type == kind else column.cast(kind)


def _holds_times(kind: Any) -> bool:
    whole = types.is_integer(kind) or (types.is_decimal(kind) and kind.scale == 0)
    return bool(whole or types.is_timestamp(kind))
