"""Loading features: what is written, and going on after an interruption."""

import io
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rich.console import Console

from ranker.errors import FeatureError, SourceError, StoreError
from ranker.features.stored import user_records, video_records
from ranker.private_redis.server import private_server
from ranker.spec_file import parse_spec
from ranker.store.connection import connect
from ranker.store.keys import texts_key, users_key, videos_key
from ranker.store.records import to_bytes
from ranker.stream.texts import IDS, Texts
from tests.training.record_source import RecordSource
from training import load_features as module
from training.load_features import Loaded, load_features
from training.sources.parquet import ParquetSource

SPEC = parse_spec(
    """
name: loaded
features:
  - {name: user_id, side: user, kind: id}
  - {name: age, side: user, kind: number}
  - {name: query_topic, side: query, kind: category}
  - {name: video_id, side: candidate, kind: id}
  - {name: tags, side: candidate, kind: ids, max_items: 4}
  - {name: duration_s, side: candidate, kind: number, transform: log1p}
tasks: [{name: click, group: engagement, kind: binary}]
score: {terms: [{head: click}]}
""",
    where="test_load_features.py",
)
USERS, VIDEOS = user_records(SPEC), video_records(SPEC)
ROWS = 130


class Tables(RecordSource):
    """A source of users and videos that are given as columns."""

    def __init__(self, users: dict[str, Any], videos: dict[str, Any], name: str = "tables") -> None:
        super().__init__(pa.RecordBatch.from_pydict({"time_ms": pa.array([], pa.int64())}), name)
        self.tables = pa.table(users), pa.table(videos)

    def users(self) -> Iterator[pa.RecordBatch]:
        yield from self.tables[0].to_batches(max_chunksize=50)

    def videos(self) -> Iterator[pa.RecordBatch]:
        yield from self.tables[1].to_batches(max_chunksize=50)


def user_columns(rows: int = ROWS) -> dict[str, Any]:
    return {"user_id": list(range(rows)), "age": [None if i % 7 == 0 else float(i) for i in range(rows)]}


def video_columns(rows: int = ROWS) -> dict[str, Any]:
    return {
        "video_id": [f"v{i}" for i in range(rows)],
        "topic": [["news", "music", None][i % 3] for i in range(rows)],
        "tags": [None if i % 5 == 0 else [f"t{k}" for k in range(i % 7)] for i in range(rows)],
        "duration_s": [float(i) for i in range(rows)],
        "further": ["is not looked at"] * rows,
    }


def load(client: redis.Redis, source: Any, **options: bool) -> Loaded:
    return load_features(client, SPEC, source, Console(file=io.StringIO()), **options)


def check_stored(client: redis.Redis, rows: int = ROWS) -> None:
    """The store holds what records made of JSON values are, and no more."""
    for columns, layout, key in (
        (user_columns(rows), USERS, users_key(USERS.digest)),
        (video_columns(rows), VIDEOS, videos_key(VIDEOS.digest)),
    ):
        dicts = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        ids = [str(value).encode() for value in next(iter(columns.values()))]
        assert client.hgetall(key) == dict(zip(ids, to_bytes(layout.of_rows(dicts)), strict=True))


def test_what_is_written_is_what_a_request_of_the_same_values_is_made_into(client: redis.Redis) -> None:
    assert load(client, Tables(user_columns(), video_columns())) == Loaded(ROWS, ROWS, resumed_at=0)
    check_stored(client)
    assert not client.keys("watchnext:load:*")


def test_the_texts_behind_words_are_written_but_for_ids_that_impressions_name(client: redis.Redis) -> None:
    load(client, Tables(user_columns(), video_columns()))
    expected = VIDEOS.texts_of_batch(pa.RecordBatch.from_pydict(video_columns()), without=IDS)
    assert set(expected.values()) == {"news", "music", *(f"t{k}" for k in range(6))}
    assert Texts(client, SPEC.hash_seed).of(expected.keys()) == expected
    assert client.hlen(texts_key(SPEC.hash_seed)) == len(expected)


def test_loading_again_replaces_every_record(client: redis.Redis) -> None:
    other = {**video_columns(), "duration_s": [7.0] * ROWS}
    load(client, Tables(user_columns(), other))
    assert load(client, Tables(user_columns(), video_columns())).resumed_at == 0
    check_stored(client)


class Ending(Tables):
    """A source that ends in the middle of a pass, unless told otherwise."""

    ends = True

    def videos(self) -> Iterator[pa.RecordBatch]:
        for place, batch in enumerate(super().videos()):
            if self.ends and place == 2:
                raise SourceError("the source is gone")
            yield batch


def interrupted(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Ending:
    """A source of which 130 users and 100 videos were loaded when it failed."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 30)
    source = Ending(user_columns(), video_columns())
    with pytest.raises(SourceError, match="the source is gone"):
        load(client, source)
    source.ends = False
    assert client.hlen(videos_key(VIDEOS.digest)) == 100
    return source


def test_what_was_interrupted_is_taken_up_and_ends_the_same(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = interrupted(client, monkeypatch)
    client.hset(videos_key(VIDEOS.digest), "v3", b"another")
    assert load(client, source) == Loaded(ROWS, ROWS, resumed_at=ROWS + 100)
    assert client.hget(videos_key(VIDEOS.digest), "v3") == b"another"  # it was not written a second time
    assert load(client, source) == Loaded(ROWS, ROWS, resumed_at=0)
    check_stored(client)


def test_a_restart_begins_anew(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    source = interrupted(client, monkeypatch)
    client.hdel(videos_key(VIDEOS.digest), "v3")
    assert load(client, source, restart=True) == Loaded(ROWS, ROWS, resumed_at=0)
    check_stored(client)


def test_another_source_does_not_go_on_where_this_one_stopped(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(client, monkeypatch)
    assert load(client, Tables(user_columns(), video_columns(), name="other")).resumed_at == 0


def test_a_process_that_was_killed_is_gone_on_from(tmp_path: Path) -> None:
    rows = 60_000
    for name, columns in (("users", user_columns(rows)), ("videos", video_columns(rows))):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", row_group_size=5_000)
    log = {"time_ms": [1], "user_id": [1], "video_id": ["v1"]}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    with private_server(tmp_path / "home") as url, connect(url) as client:
        path = client.connection_pool.connection_kwargs["path"]
        program = f"""
            import io, redis
            from rich.console import Console
            from tests.training.test_load_features import SPEC
            from training import load_features as module
            from training.sources.parquet import ParquetSource
            module.CHUNK_ROWS = 500
            client = redis.Redis.from_url("unix://{path}")
            module.load_features(client, SPEC, ParquetSource({str(tmp_path)!r}), Console(file=io.StringIO()))
        """
        root = Path(__file__).parents[2]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        while not client.hlen(videos_key(VIDEOS.digest)):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 0 < client.hlen(videos_key(VIDEOS.digest)) < rows
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "CHUNK_ROWS", 500)
            loaded = load(client, ParquetSource(str(tmp_path)))
        assert loaded.resumed_at >= rows
        assert (loaded.users, loaded.videos) == (rows, rows)
        check_stored(client, rows)


@pytest.mark.parametrize(
    ("users", "videos", "error", "message"),
    [
        ({"user_id": [None]}, {}, FeatureError, "user_id: expected an id, found null in row 60 of the users"),
        ({"user_id": [[1]]}, {}, FeatureError, r"user_id: expected an id .*, found a column of list"),
        ({"age": ["old"]}, {}, FeatureError, "age: expected a finite number, found a column of string"),
        (
            {"age": [float("inf")]},
            {},
            FeatureError,
            "age: expected a finite number, found inf in row 60 of the users",
        ),
        ({}, {"tags": [["t", "x" * 1025]]}, FeatureError, "tags: .* found 1025 in row 60 of the videos"),
        ({}, {"topic": ["x" * 1025]}, FeatureError, "topic: .* found 1025 in row 60 of the videos"),
        ({}, {"topic": None}, SourceError, "expected a column 'topic', found video_id, tags, duration_s"),
        ({"user_id": None}, {}, SourceError, "expected a column 'user_id', found age"),
    ],
)
def test_what_cannot_be_stored_is_named(
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    users: dict[str, Any],
    videos: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    """A value given here stands in row 60, in the third piece of the source; None leaves the column out."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 25)

    def spoiled(columns: dict[str, Any], spoil: dict[str, Any]) -> dict[str, Any]:
        found = dict(columns)
        for name, value in spoil.items():
            if value is None:
                del found[name]
            elif type(value[0]) in {type(v) for v in columns[name]} | {float, type(None)}:
                found[name] = [*columns[name][:60], value[0], *columns[name][61:]]
            else:
                found[name] = value * len(columns[name])
        return found

    source = Tables(spoiled(user_columns(), users), spoiled(video_columns(), videos))
    with pytest.raises(error, match=message) as caught:
        load(client, source)
    if "row 60" in message:
        assert isinstance(caught.value, FeatureError)
        assert caught.value.row == 60


def test_a_store_that_goes_away_is_said(client: redis.Redis) -> None:
    away = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    with pytest.raises(StoreError, match=r"expected Redis to take the records, .* goes on from there"):
        load(away, Tables(user_columns(), video_columns()))


def test_a_million_videos_fit_in_the_stated_number_of_bytes_each(client: redis.Redis) -> None:
    """Measured on 100,000: the hash's own table grows in steps of two, a tenth more or less of the whole."""
    rows = 100_000
    load(client, Tables(user_columns(1), video_columns(rows)))
    taken: Any = client.memory_usage(videos_key(VIDEOS.digest), samples=0)
    record = VIDEOS.words * 8
    assert record <= taken / rows <= record + 120


def test_records_that_redis_dropped_while_loading_are_missed(client: redis.Redis) -> None:
    class Dropping(Tables):
        """A source during whose videos Redis drops the users."""

        def videos(self) -> Iterator[pa.RecordBatch]:
            client.delete(users_key(USERS.digest))
            yield from super().videos()

    source = Dropping(user_columns(), video_columns())
    with pytest.raises(
        StoreError, match=rf"{users_key(USERS.digest)}: .* 130 users .* found 0: it was emptied"
    ):
        load(client, source)
    assert not client.keys("watchnext:load:*")  # so that the next call begins anew
    assert load(client, Tables(user_columns(), video_columns())).resumed_at == 0
    check_stored(client)


def test_records_that_redis_dropped_before_a_load_was_resumed_are_missed(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = interrupted(client, monkeypatch)
    client.delete(videos_key(VIDEOS.digest))
    with pytest.raises(StoreError, match=r"130 videos .* found 30"):
        load(client, source)


def test_an_id_that_comes_twice_counts_once(client: redis.Redis) -> None:
    twice = {name: values * 2 for name, values in user_columns().items()}
    assert load(client, Tables(twice, video_columns())).users == 2 * ROWS


def test_a_load_that_redis_has_no_memory_for_says_so(client: redis.Redis) -> None:
    before = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreError, match=r"memory for the records, .* \(maxmemory\), and the same"):
            load(client, Tables(user_columns(), video_columns()))
    finally:
        client.config_set("maxmemory", before)
