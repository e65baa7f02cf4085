import redis

from ranker.store.deletions import DELETIONS_KEPT_MS, Deletions, queue_deletion, read_deletions
from ranker.store.keys import deleted_users_key, deleted_videos_key

NOW_MS = 1_800_000_000_000


def delete(client: redis.Redis, key: str, name: str, now_ms: int) -> None:
    with client.pipeline(transaction=True) as pipeline:
        queue_deletion(pipeline, key, name, now_ms=now_ms)
        pipeline.execute()


def test_deletions_are_read_back_with_their_times(client: redis.Redis) -> None:
    delete(client, deleted_users_key(), "ü", NOW_MS)
    delete(client, deleted_videos_key(), "v", NOW_MS + 5)
    assert read_deletions(client, 0) == Deletions({"ü": NOW_MS}, {"v": NOW_MS + 5})
    assert read_deletions(client, NOW_MS + 1) == Deletions({}, {"v": NOW_MS + 5})
    assert read_deletions(client, 0).after(NOW_MS) == Deletions({}, {"v": NOW_MS + 5})
    assert not read_deletions(client, 0).after(NOW_MS + 5)
    assert list(read_deletions(client, 0).by_column()) == [("user_id", "ü"), ("video_id", "v")]


def test_the_latest_deletion_of_an_id_counts(client: redis.Redis) -> None:
    for time_ms in (NOW_MS, NOW_MS + 9):
        delete(client, deleted_users_key(), "u", time_ms)
    assert read_deletions(client, 0).users == {"u": NOW_MS + 9}


def test_old_deletions_are_dropped(client: redis.Redis) -> None:
    delete(client, deleted_users_key(), "old", NOW_MS)
    delete(client, deleted_users_key(), "new", NOW_MS + DELETIONS_KEPT_MS)
    assert read_deletions(client, 0).users == {"new": NOW_MS + DELETIONS_KEPT_MS}
