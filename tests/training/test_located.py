import pytest

from ranker.errors import FeatureError, LabelError
from training.located import located


def test_a_value_is_found_by_its_log_and_the_row_of_all_that_was_read() -> None:
    with (
        pytest.raises(
            FeatureError, match=r"^parquet log: age: expected a number in row 107 of the users$"
        ) as found,
        located("parquet log", lambda: 100, "users"),
    ):
        raise FeatureError("age: expected a number in row 7", feature="age", row=7)
    assert (found.value.feature, found.value.row) == ("age", 107)


def test_a_whole_column_and_a_label_name_the_log() -> None:
    with pytest.raises(FeatureError, match=r"^log: age: expected numbers$"), located("log", lambda: 100):
        raise FeatureError("age: expected numbers", feature="age")
    with pytest.raises(LabelError, match=r"^log: column 'like'"), located("log", 100):
        raise LabelError("column 'like': expected 0 or 1")
