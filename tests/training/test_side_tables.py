"""Tables without times beside a log: what is said of those that are younger than the rows that are judged."""

from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.training.record_source import RecordSource
from training.side_tables import younger_columns
from training.sources.base import SideTable

MADE_MS = 1_700_000_000_000  # 2023-11-14 22:13 UTC


class JoinedSource(RecordSource):
    """Records that were joined with a table of users."""

    side_tables = (SideTable("users.csv", ("age", "country", "never_read"), MADE_MS),)


SOURCE = JoinedSource(random_records(10))


def test_a_table_that_is_younger_than_the_judged_rows_is_named_with_the_columns_that_are_read() -> None:
    (warning,) = younger_columns(SMALL_SPEC, SOURCE, MADE_MS - 1)

    assert warning.startswith("users.csv: expected a table that was made before the rows that are judged")
    assert "found one of 2023-11-14T22:13:20Z: what it says of age, country may" in warning


def test_an_older_table_a_table_that_is_not_read_and_no_table_are_no_reason_to_warn() -> None:
    unread = JoinedSource(random_records(10))
    unread.side_tables = (SideTable("users.csv", ("never_read",), MADE_MS),)

    assert younger_columns(SMALL_SPEC, SOURCE, MADE_MS) == ()
    assert younger_columns(SMALL_SPEC, unread, 0) == ()
    assert younger_columns(SMALL_SPEC, RecordSource(random_records(10)), 0) == ()
