"""The latest value of every column per entity, from a stream of rows."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa


def last_known(empty: pa.Table, tables: Iterable[pa.Table], key: str) -> pa.Table:
    """Reduce a log to one row per entity, in memory that grows with the entities and not with the log.

    Args:
        empty: A table without rows and with the schema of `tables`.
        tables: The log, oldest rows first.
        key: The column with the entity's id; rows where it is null are skipped.

    Returns:
        One row per id with the latest value of every column that is not null.
    """
    known = empty
    for table in tables:
        known = _fold(pa.concat_tables([known, table.filter(table[key].is_valid())]).combine_chunks(), key)
    return known


def _fold(rows: pa.Table, key: str) -> pa.Table:
    ids = rows[key].combine_chunks().dictionary_encode()
    entity = ids.indices.to_numpy()
    columns = {}
    for name in rows.column_names:
        valid = np.flatnonzero(rows[name].is_valid().to_numpy())
        latest = np.full(len(ids.dictionary), -1)
        latest[entity[valid]] = valid  # a repeated entity keeps its last row
        columns[name] = rows[name].take(pa.array(latest, mask=latest < 0))
    return pa.table(columns)
