"""The columns that every event record has, whatever the spec.

An example, at rest or in flight, is a row of an Arrow record batch: `time_ms`, the ids below, the spec's
feature columns (null where unknown) and one nullable label column a task. Sources yield such batches in
event-time order.
"""

from typing import Final

import pyarrow as pa

from ranker.did_you_mean import did_you_mean
from ranker.errors import SourceError

TIME_MS: Final = "time_ms"
"""int64, Unix epoch in milliseconds, UTC: when the impression was shown."""
USER_ID: Final = "user_id"
"""string or integer: the viewer; null if unknown, such as one who is signed out."""
VIDEO_ID: Final = "video_id"
"""string or integer: the candidate that was shown."""
QUERY_VIDEO_ID: Final = "query_video_id"
"""string or integer, null if none: the video that was on when the request was made."""
QUERY_PREFIX: Final = "query_"
"""A `query` feature named `query_X` holds the query video's own column `X`."""
POSITION: Final = "position"
"""integer, optional column: where the candidate was shown; the first has 1."""
WEIGHT: Final = "weight"
"""float, optional column: the example's weight in the loss."""
SERVED_FEATURES: Final = "served_features"
"""binary, optional column: what the feature state knew when the row was ranked; see `ServedFeatures`."""

REQUIRED: Final = (TIME_MS, USER_ID, VIDEO_ID)


def check_records(schema: pa.Schema, *, where: str) -> None:
    """Check that a schema can hold examples.

    Args:
        schema: The schema of the record batches.
        where: What to name in the message: a file, a source.

    Raises:
        SourceError: A required column is missing or `time_ms` is not an integer.
    """
    for name in REQUIRED:
        if name not in schema.names:
            raise SourceError(
                f"{where}: expected a column '{name}', found {', '.join(schema.names)}"
                f"{did_you_mean(name, schema.names)}"
            )
    if not pa.types.is_integer(schema.field(TIME_MS).type):
        raise SourceError(
            f"{where}: expected '{TIME_MS}' in whole milliseconds since 1970, "
            f"found {schema.field(TIME_MS).type}"
        )
