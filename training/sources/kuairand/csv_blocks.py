"""CSV read in blocks, with errors that name the file and the line."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from ranker.errors import SourceError

_BLOCK_BYTES = 4 << 20


def csv_blocks(path: Path, columns: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file with a header, block by block, in the file's order.

    Args:
        path: The file; gzipped if its name ends in .gz.
        columns: The columns to read and their types; an empty field is null.

    Raises:
        SourceError: The file is unreadable, a column is missing, or a value has the wrong type; the message
            names the line.
    """
    try:
        yield from pa_csv.open_csv(
            str(path),
            # pyarrow names the row of an error only when it reads with one thread
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            convert_options=pa_csv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except (pa.ArrowException, OSError) as error:
        found = str(error.args[0]).replace("Row #", "line ")
        raise SourceError(
            f"{path}: expected CSV with columns {', '.join(columns)}; found: {found}"
        ) from error
