"""What is an id: the log, the store, requests and Python agree."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from ranker.errors import FeatureError, SourceError
from ranker.features.entity_ids import id_texts
from serving.requests import RankRequest, RecordInput
from training.sources.parquet import ParquetSource

IDS = ["x", "x" * 300, "x" * 1024, "é" * 512, "😀" * 256, "a\0b", "a\0", " ", "712", 712, 0, -5, 2**63 - 1]
NO_IDS = ["x" * 1025, "é" * 513, "😀" * 257]


def in_log(folder: Path, value: str | int | None) -> str | None:
    """The id as training reads it."""
    table = pa.table({"time_ms": [1, 2], "user_id": pa.array([value, value]), "video_id": ["v", "w"]})
    pq.write_table(table, folder / "log.parquet")
    [batch] = ParquetSource(str(folder)).records(10)
    found = batch.column("user_id")[0].as_py()
    return None if found is None else str(found)


@pytest.mark.parametrize("value", IDS, ids=lambda value: repr(value)[:12])
def test_an_id_is_one_everywhere_and_the_same_text(tmp_path: Path, value: str | int) -> None:
    request = RankRequest.model_validate({"user": {"id": value}, "candidates": [{"id": value}]})

    assert in_log(tmp_path, value) == str(value)
    assert id_texts(pa.array([value]), "user_id") == [str(value)]
    assert request.user.id == request.candidates[0]["id"] == str(value)
    assert RecordInput.model_validate({"id": value}).id == str(value)


@pytest.mark.parametrize("value", NO_IDS, ids=lambda value: f"{len(value)} characters")
def test_what_is_too_long_is_refused_everywhere(tmp_path: Path, value: str) -> None:
    with pytest.raises(SourceError, match="expected an id"):
        in_log(tmp_path, value)
    with pytest.raises(FeatureError, match="expected an id"):
        id_texts(pa.array([value]), "user_id")
    for wrong in ({"user": {"id": value}}, {"candidates": [{"id": value}]}, {"query_video_id": value}):
        with pytest.raises(ValidationError, match="expected text of 1 to 1,024 bytes, or a whole number"):
            RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": "v"}], **wrong})


@pytest.mark.parametrize("value", ["", None])
def test_without_an_id_a_viewer_is_unknown_and_nothing_is_stored(tmp_path: Path, value: str | None) -> None:
    column = pa.array([value], pa.string())

    assert in_log(tmp_path, value) is None
    with pytest.raises(FeatureError, match=r"expected an id, found (null|empty text) in row 0"):
        id_texts(column, "user_id")
    with pytest.raises(ValidationError):
        RecordInput.model_validate({"id": value})
    with pytest.raises(ValidationError):
        RankRequest.model_validate({"user": {"id": "u"}, "candidates": [{"id": value}]})


def test_a_request_of_an_unknown_viewer_says_so_by_leaving_the_id_out() -> None:
    assert RankRequest.model_validate({"user": {}, "candidates": [{"id": "v"}]}).user.id is None
