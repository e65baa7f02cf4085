"""Reading CSV in blocks, with messages that name the file and the line."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from ranker.errors import SourceError

_BLOCK_BYTES = 4 << 20


def csv_blocks(path: Path, columns: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Read some columns of a CSV file with a header, block by block, in the file's order.

    Args:
        path: The file; gzipped if its name ends in .gz.
        columns: The columns to read and their types; an empty field is null.

    Raises:
        SourceError: Unreadable, or a column is missing, or a row does not fit; the message names the line.
    """
    try:
        yield from pa_csv.open_csv(
            str(path),
            # One thread, for only then does a mistake come with its row.
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
