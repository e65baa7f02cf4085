import json

import pyarrow as pa
import pytest

from ranker.errors import FeatureError, SourceError
from ranker.store.connection import connect
from ranker.store.features import FeatureWriter
from ranker.store.keys import user_key, video_key


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with connect(None, tmp_path_factory.mktemp("home")) as client:
        yield client


def read(client, key):
    return json.loads(client.get(key))


def test_every_kind_of_value_comes_back_as_it_was(client):
    batch = pa.RecordBatch.from_pydict(
        {
            "video_id": ["a"],
            "tags": [["x", 'quote " and \\', "ünïcode\x00"]],
            "duration_s": [0.1],
            "big": [2**62],
            "is_ad": [True],
            "author": pa.array(["me"]).dictionary_encode(),
        }
    )
    assert FeatureWriter(client).write_videos(batch, ["tags", "duration_s", "big", "is_ad", "author"]) == 1
    assert read(client, video_key("a")) == {
        "tags": ["x", 'quote " and \\', "ünïcode\x00"],
        "duration_s": 0.1,
        "big": 2**62,
        "is_ad": True,
        "author": "me",
    }


def test_missing_values_are_left_out(client):
    nan, inf = float("nan"), float("inf")
    batch = pa.RecordBatch.from_pydict({"user_id": [1, 2, 3, 4], "age": [None, nan, inf, 30.0]})
    FeatureWriter(client).write_users(batch, ["age"])
    assert [read(client, user_key(i)) for i in "1234"] == [{}, {}, {}, {"age": 30.0}]


def test_a_user_without_columns_is_stored_all_the_same(client):
    FeatureWriter(client).write_users(pa.RecordBatch.from_pydict({"user_id": ["bare"]}), [])
    assert read(client, user_key("bare")) == {}


def test_users_and_videos_of_one_id_are_apart(client):
    FeatureWriter(client).write_users(pa.RecordBatch.from_pydict({"user_id": [9], "x": ["user"]}), ["x"])
    FeatureWriter(client).write_videos(pa.RecordBatch.from_pydict({"video_id": [9], "x": ["video"]}), ["x"])
    assert read(client, user_key("9")) == {"x": "user"}
    assert read(client, video_key("9")) == {"x": "video"}


def test_writing_again_replaces_the_record(client):
    writer = FeatureWriter(client)
    writer.write_users(pa.RecordBatch.from_pydict({"user_id": [5], "old": [1]}), ["old"])
    writer.write_users(pa.RecordBatch.from_pydict({"user_id": [5], "new": [2]}), ["new"])
    assert read(client, user_key("5")) == {"new": 2}


def test_whole_numbers_in_a_column_of_floats_are_the_same_ids(client):
    FeatureWriter(client).write_users(pa.RecordBatch.from_pydict({"user_id": [712.0], "x": [1]}), ["x"])
    assert read(client, user_key("712")) == {"x": 1}


def test_more_rows_than_one_command_carries(client, monkeypatch):
    monkeypatch.setattr("ranker.store.features.ROWS_PER_COMMAND", 3)
    batch = pa.RecordBatch.from_pydict({"user_id": [f"many{i}" for i in range(10)], "x": list(range(10))})
    assert FeatureWriter(client).write_users(batch, ["x"]) == 10
    assert [read(client, user_key(f"many{i}"))["x"] for i in range(10)] == list(range(10))


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"user_id": ["a", None], "x": [1, 2]}, FeatureError, "user_id: expected an id in row 1, found null"),
        ({"user_id": [1.5], "x": [1]}, FeatureError, "user_id: expected ids"),
        ({"user_id": [[1]], "x": [1]}, FeatureError, "user_id: expected ids"),
        ({"user_id": [1], "x": [b"bytes"]}, FeatureError, "x: expected text, numbers"),
        ({"user_id": [1], "y": [1]}, SourceError, "expected a column 'x', found user_id, y"),
        ({"x": [1]}, SourceError, "expected a column 'user_id', found x"),
    ],
)
def test_what_cannot_be_stored_is_named(client, columns, error, message):
    with pytest.raises(error, match=message):
        FeatureWriter(client).write_users(pa.RecordBatch.from_pydict(columns), ["x"])
