import pyarrow as pa
import pytest

from ranker.errors import SourceError
from ranker.events import check_records

FIELDS = {"time_ms": pa.int64(), "user_id": pa.string(), "video_id": pa.int64()}


def test_records_need_time_user_and_video() -> None:
    check_records(pa.schema(FIELDS), where="log")


@pytest.mark.parametrize("column", FIELDS)
def test_a_required_column_that_is_missing_is_named(column: str) -> None:
    schema = pa.schema({name: kind for name, kind in FIELDS.items() if name != column})

    with pytest.raises(SourceError, match=f"log: expected a column '{column}', found "):
        check_records(schema, where="log")


@pytest.mark.parametrize("kind", [pa.float64(), pa.timestamp("ms"), pa.string()])
def test_time_is_an_integer(kind: pa.DataType) -> None:
    with pytest.raises(
        SourceError, match=f"log: expected 'time_ms' in whole .*, found {kind}".replace("[", r"\[")
    ):
        check_records(pa.schema({**FIELDS, "time_ms": kind}), where="log")
