"""Deleting viewers and videos over HTTP: in the store, among what is resident, in the feature state."""

import time

import numpy as np
import pytest

from ranker.bundles.bundle import unpack
from ranker.features.sides import Group
from ranker.features.stored import user_records, video_records
from ranker.store.connection import connect_later
from ranker.store.deletions import read_deletions
from ranker.store.keys import changes_key, deleted_users_key, users_key, videos_key
from ranker.store.state_store import StateStore
from serving.app import create_app
from serving.http.auth import ApiKey, hashed
from serving.http.roles import Role
from serving.settings import ServingSettings
from serving.sync import hot_swap
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem
from tests.serving.state_ranker import STATE_SPEC, log_of, packed_state_ranker, publish_state_ranker
from tests.serving.waiting import wait_until

LOG = log_of(600)
LATER_MS = LOG.column("time_ms")[599].as_py() + 3_600_000
KEYS = [ApiKey(name=f"of-{role}", role=role, sha256=hashed(role)) for role in Role]
USERS, VIDEOS = user_records(STATE_SPEC), video_records(STATE_SPEC)


@pytest.fixture
def app(tmp_path, server):
    with server.client() as store:
        store.flushall()
    publish_state_ranker(tmp_path, LOG.slice(0, 300))
    return create_app(ServingSettings(registry=str(tmp_path), redis_url=server.url, api_keys=KEYS))


@pytest.fixture
def client(app, monkeypatch):
    monkeypatch.setattr(hot_swap, "POLL_S", 0.05)
    with serving(app) as client:
        client.headers["Authorization"] = f"Bearer {Role.WRITE}"
        yield client


@pytest.fixture
def store(server):
    with server.client() as store:
        yield store


def rank(client, user="u1", videos=("v1", "v2")):
    body = {"user": {"id": user}, "candidates": [{"id": name} for name in videos], "time_ms": LATER_MS}
    answer = client.post("/v1/rank", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def known(app, user):
    """What the state of the model that ranks says of a viewer."""
    model = app.state.ranking.model
    records = model._encoder.records[Group.REQUEST]
    words, times = records.of_rows([{"user_id": user}]), np.full(1, LATER_MS)
    said = model.state.features.look_up(Group.REQUEST, words, records, times)
    return repr((said.numbers.tolist(), [h.values.tolist() for h in said.histories.values()]))


def test_a_deleted_viewer_is_not_stored_and_not_known(client, app, store):
    client.put("/v1/users", json={"id": "u1", "features": {"age": 30}})
    assert rank(client)["unknown"]["user"] is False
    assert known(app, "u1") != known(app, "nobody")

    assert client.delete("/v1/users/u1").status_code == 204

    assert rank(client)["unknown"]["user"] is True
    assert store.hget(users_key(USERS.digest), "u1") is None
    wait_until(lambda: known(app, "u1") == known(app, "nobody"), "the viewer to be forgotten")
    assert known(app, "u2") != known(app, "nobody")


def test_a_deleted_video_is_not_resident_and_not_stored(client, store):
    client.put("/v1/videos", json={"id": "v1", "features": {"duration_s": 3.0}})
    wait_until(lambda: rank(client)["unknown"]["videos"] == ["v2"], "the video to be known")
    assert client.delete("/v1/videos/v1").status_code == 204
    assert store.hget(videos_key(VIDEOS.digest), "v1") is None
    wait_until(lambda: rank(client)["unknown"]["videos"] == ["v1", "v2"], "the video to be unknown")


def test_deleting_twice_or_what_was_never_there_is_no_error(client):
    for _ in range(2):
        for path in ("/v1/users/nobody", "/v1/videos/nothing"):
            answer = client.delete(path)
            assert (answer.status_code, answer.content) == (204, b"")


def test_records_of_other_layouts_are_deleted_as_well(client, store):
    store.hset(users_key("older"), mapping={"u1": b"x", "u2": b"x"})
    store.hset(videos_key("older"), "v1", b"x")
    client.delete("/v1/users/u1")
    client.delete("/v1/videos/v1")
    assert store.hkeys(users_key("older")) == [b"u2"]
    assert not store.exists(videos_key("older"))
    assert store.xlen(changes_key("older")) == 1  # for the services that rank with them


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "ü", "{id}", "x?y", "/", "..%2e", "al\n", "\nal", "a\nl", "\ufffd"]
)
def test_ids_of_all_kinds_can_be_deleted(client, store, name):
    client.put("/v1/users", json={"id": name})
    path = "".join(f"%{byte:02X}" for byte in name.encode())
    assert client.delete(f"/v1/users/{path}").status_code == 204
    assert not store.exists(users_key(USERS.digest))
    assert list(read_deletions(store, 0).users) == [name]


@pytest.mark.parametrize("path", ["%FF", "%ED%A0%80", "a%C3"])
def test_an_id_that_is_no_utf_8_is_a_mistake_and_deletes_nobody_else(client, store, path):
    client.put("/v1/users", json={"id": "\ufffd"})
    document = check_problem(client.delete(f"/v1/users/{path}"), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/id"
    assert store.hexists(users_key(USERS.digest), "\ufffd")


@pytest.mark.parametrize("entry", [{b"\xff": 1}, {b"x": float("inf")}, {b"x": 9e15}], ids=str)
def test_entries_that_are_no_deletions_of_the_past_keep_none_from_being_followed(client, app, store, entry):
    store.zadd(deleted_users_key(), entry)
    for user in ("u1", "u2"):  # after the first, the follower has seen the entry
        assert known(app, user) != known(app, "nobody")
        assert client.delete(f"/v1/users/{user}").status_code == 204
        wait_until(lambda user=user: known(app, user) == known(app, "nobody"), "the viewer to be forgotten")


def test_a_service_starts_beside_entries_that_are_no_deletions(app, store, caplog):
    store.zadd(deleted_users_key(), {b"\xff": 1})
    with serving(app):
        pass
    assert caplog.text.count(f"{deleted_users_key()}: b'\\xff' is left out") == 1


def test_keys_that_others_have_stored_do_not_keep_a_record_from_being_deleted(client, store):
    client.put("/v1/users", json={"id": "u1"})
    store.hset(users_key("\u2028").encode()[:-1] + b"\xff", "u1", b"x")
    store.set(users_key("foreign"), "text")
    store.set(changes_key("older"), "text")
    store.hset(videos_key("older"), "v1", b"x")
    assert client.delete("/v1/users/u1").status_code == 204
    assert client.delete("/v1/videos/v1").status_code == 204
    assert not store.hexists(users_key(USERS.digest), "u1")
    assert not store.exists(videos_key("older"))


def test_an_id_that_is_too_long_is_a_mistake(client):
    check_problem(client.delete(f"/v1/users/{'x' * 1025}"), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/v1/users/u1", "/v1/videos/v1"])
def test_deleting_needs_the_role_to_write(client, path):
    headers = {"Authorization": f"Bearer {Role.RANK}"}
    check_problem(client.delete(path, headers=headers), 403, "forbidden")
    check_problem(client.delete(path, headers={"Authorization": ""}), 401, "unauthenticated")
    check_problem(client.get(path), 405, "method-not-allowed")


def test_without_redis_nobody_claims_that_it_was_deleted(client, server):
    server.stop()
    try:
        document = check_problem(client.delete("/v1/users/u1"), 503, "store-unavailable")
    finally:
        server.go_on()
    assert "whether the change was made is not known" in document["detail"]


def test_a_state_that_ends_before_the_deletion_is_taken_up_without_the_viewer(client, app, server):
    client.delete("/v1/users/u1")
    wait_until(lambda: known(app, "u1") == known(app, "nobody"), "the viewer to be forgotten")
    state = unpack(packed_state_ranker(LOG), where="test").encoder.feature_state
    with connect_later(server.url, timeout_s=5) as writer:
        written = StateStore(writer, state.digest).write(state.state(), LATER_MS)
    wait_until(lambda: app.state.ranking.model.state.version == written.version, "the newer state")
    wait_until(lambda: known(app, "u1") == known(app, "nobody"), "the viewer to be forgotten again")
    assert known(app, "u2") != known(app, "nobody")


def test_a_state_that_ends_after_the_deletion_may_know_a_viewer_who_came_back(client, app, server):
    client.delete("/v1/users/u1")
    state = unpack(packed_state_ranker(LOG), where="test").encoder.feature_state
    state.advance(LATER_MS)
    with connect_later(server.url, timeout_s=5) as writer:
        now_ms = (time.time_ns() // 1_000_000) + 3_600_000
        written = StateStore(writer, state.digest).write(state.state(), now_ms)
    wait_until(lambda: app.state.ranking.model.state.version == written.version, "the newer state")

    def forgotten():
        client.delete(
            "/v1/users/u2"
        )  # again and again: one that is seen together with the state is before it
        return known(app, "u2") == known(app, "nobody")

    wait_until(forgotten, "a later look at the deletions")
    assert known(app, "u1") != known(app, "nobody")


def test_a_service_that_starts_later_has_forgotten(tmp_path, server, store, monkeypatch):
    monkeypatch.setattr(hot_swap, "POLL_S", 0.05)
    store.flushall()
    publish_state_ranker(tmp_path, LOG.slice(0, 300))
    settings = ServingSettings(registry=str(tmp_path), redis_url=server.url)
    with serving(create_app(settings)) as client:
        client.delete("/v1/users/u1")
    later = create_app(settings)
    with serving(later) as client:
        rank(client)
        assert known(later, "u1") == known(later, "nobody")
        assert known(later, "u2") != known(later, "nobody")


def test_deletions_are_not_followed_while_redis_is_away_and_are_afterwards(client, app, server, caplog):
    client.delete("/v1/users/u1")
    wait_until(lambda: known(app, "u1") == known(app, "nobody"), "the viewer to be forgotten")
    server.kill()
    wait_until(lambda: "deletions are not followed for now" in caplog.text, "the follower to notice")
    server.start()
    with server.client() as direct:
        direct.zadd(deleted_users_key(), {"u2": time.time_ns() // 1_000_000})
    wait_until(lambda: known(app, "u2") == known(app, "nobody"), "the other viewer to be forgotten")
