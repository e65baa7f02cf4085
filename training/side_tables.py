"""Tables without times beside a log, which may tell what happened after a row of the log."""

from ranker.event_times import time_text
from ranker.features.sides import Side
from ranker.spec import RankerSpec
from training.sources.base import Source


def younger_columns(spec: RankerSpec, source: Source, last_ms: int) -> tuple[str, ...]:
    """Say which features may know what happened in the rows that are judged.

    A table that was made after the last of these rows may have counted them. Whether it did cannot be told
    from the table.

    Args:
        spec: The ranker.
        source: Where the rows come from.
        last_ms: Event time of the last row that is judged.

    Returns:
        A sentence for each such table that the spec reads a column of.
    """
    found = []
    for table in source.side_tables:
        read = sorted({column.source_column for column in spec.side(*Side)} & set(table.columns))
        if read and table.as_of_ms > last_ms:
            found.append(
                f"{table.where}: expected a table that was made before the rows that are judged, which end "
                f"at {time_text(last_ms)}, found one of {time_text(table.as_of_ms)}: what it says of "
                f"{', '.join(read)} may be known only since"
            )
    return tuple(found)
