import numpy as np
import pytest

from ranker.errors import StoreError
from ranker.store.keys import changes_key, users_key, videos_key
from ranker.stream.texts import IDS, Texts
from serving.http.metrics import Metrics
from tests.serving.metric_value import metric_value
from tests.serving.small_ranker import store_rows
from tests.serving.sync.used_store import USERS, VIDEOS, run

ROWS = [{"video_id": f"v{i}", "duration_s": float(i)} for i in range(5)]


def test_a_viewer_and_videos_are_read_as_they_were_written(server, client):
    user = {"user_id": "u", "age": 30.0}
    store_rows(client, videos=ROWS, users=[user])
    found, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v3", "nobody", "v1"]))
    np.testing.assert_array_equal(found, USERS.of_rows([user])[0])
    assert list(videos) == ["v3", "v1"]
    for video_id, record in videos.items():
        np.testing.assert_array_equal(record, VIDEOS.of_rows([ROWS[int(video_id[1])]])[0])
    assert whole


def test_who_is_not_stored_is_none(server, client):
    assert run(server, lambda store: store.read(USERS, "u", VIDEOS, [])) == (None, {}, True)
    assert run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v"])) == (None, {}, True)


def test_a_video_that_is_written_is_announced(server, client):
    run(server, lambda store: store.write_video(VIDEOS, "v", VIDEOS.of_rows(ROWS[:1])))
    [(_, fields)] = client.xrange(changes_key(VIDEOS.digest))
    assert fields == {b"ids": b'["v"]'}
    stored = run(server, lambda store: store.read_videos(VIDEOS, ["w", "v"]))
    np.testing.assert_array_equal(stored["v"], VIDEOS.of_rows(ROWS[:1])[0])
    assert list(stored) == ["v"]


def test_a_user_that_is_written_is_read(server, client):
    record = USERS.of_rows([{"user_id": "u", "age": 5.0}])
    run(server, lambda store: store.write_user(USERS, "u", record))
    found, _, _ = run(server, lambda store: store.read(USERS, "u", VIDEOS, []))
    np.testing.assert_array_equal(found, record[0])


def test_the_texts_behind_a_record_are_written_with_it(server, client):
    record, texts = VIDEOS.of_rows_with_texts([{"video_id": "v", "tags": ["a", "b"]}], without=IDS)

    async def use(store):
        await store.write_video(VIDEOS, "v", record, texts)
        await store.write_user(USERS, "u", USERS.of_rows([{"user_id": "u"}]), {7: "seven"})

    run(server, use)
    assert Texts(client, VIDEOS.seed).of([*texts, 7]) == {**texts, 7: "seven"}
    assert sorted(texts.values()) == ["a", "b"]


@pytest.mark.parametrize("count", [0, 1, 400, 3000])
def test_the_whole_catalogue_is_read(server, client, count):
    store_rows(client, videos=[{"video_id": str(i), "duration_s": float(i)} for i in range(count)])

    async def everything(store):
        return [page async for page in store.scan_videos(VIDEOS)]

    found = {name: record for page in run(server, everything) for name, record in page.items()}
    assert sorted(found, key=int) == [str(i) for i in range(count)]
    for name in list(found)[:10]:
        expected = VIDEOS.of_rows([{"video_id": name, "duration_s": float(name)}])
        np.testing.assert_array_equal(found[name], expected[0])


@pytest.mark.parametrize("spoiled", [b"no record", b""])
def test_a_stored_record_that_is_none_is_left_out_named_and_counted(server, client, caplog, spoiled):
    store_rows(client, videos=ROWS, users=[{"user_id": "u"}])
    client.hset(videos_key(VIDEOS.digest), "v1", spoiled)
    metrics = Metrics(frozenset())
    ids = ["v0", "v1", "v2"]
    user, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ids), metrics=metrics)
    assert user is not None
    assert (sorted(videos), whole) == (["v0", "v2"], False)
    assert f"{videos_key(VIDEOS.digest)}: 'v1' is left out: expected stored records of" in caplog.text
    assert metric_value(metrics, "watchnext_undecodable_total") == 1


@pytest.mark.parametrize(
    ("name", "value"), [(b"\xff\xfe", None), (b"\xff", b"no record"), ("v9", b"no record"), ("v9", b"")]
)
def test_one_field_that_cannot_be_read_does_not_keep_the_catalogue_from_being(
    server, client, caplog, name, value
):
    store_rows(client, videos=ROWS)
    key = videos_key(VIDEOS.digest)
    client.hset(key, name, client.hget(key, "v1") if value is None else value)
    metrics = Metrics(frozenset())

    async def everything(store):
        return [page async for page in store.scan_videos(VIDEOS)]

    [page] = run(server, everything, metrics=metrics)
    assert sorted(page) == [row["video_id"] for row in ROWS]
    assert "is left out" in caplog.text
    assert metric_value(metrics, "watchnext_undecodable_total") == 1


@pytest.mark.parametrize("key", [users_key(USERS.digest), videos_key(VIDEOS.digest)])
def test_where_another_put_something_else_the_rest_is_read(server, client, key, caplog):
    store_rows(client, videos=ROWS, users=[{"user_id": "u"}])
    client.set(key, "something else")
    user, videos, whole = run(server, lambda store: store.read(USERS, "u", VIDEOS, ["v0"]))
    assert ((user is None), (not videos)) == (
        key.startswith("watchnext:users"),
        key.startswith("watchnext:videos"),
    )
    assert not whole
    assert "WRONGTYPE" in caplog.text


def test_a_write_that_is_refused_does_not_make_redis_absent(server, client):
    client.set(users_key(USERS.digest), "something else")

    async def write_and_read(store):
        with pytest.raises(StoreError, match="refused"):
            await store.write_user(USERS, "u", USERS.of_rows([{}]))
        await store.ping()

    run(server, write_and_read)
