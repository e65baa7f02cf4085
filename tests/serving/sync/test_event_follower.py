"""A service whose feature state follows the log of events, over a real Redis."""

import time

import numpy as np
import pytest

from ranker.features.sides import Group
from ranker.spec_file import parse_spec
from ranker.store.connection import connect_later
from ranker.store.keys import events_key
from ranker.stream.event_log import Kind
from ranker.stream.feedback import to_bytes
from ranker.stream.redis_event_log import RedisEventLog
from serving.app import create_app
from serving.settings import ServingSettings
from serving.sync import event_follower, hot_swap
from tests.ranker.stream.made_events import event, impression_for
from tests.serving.conftest import serving
from tests.serving.state_ranker import STATE_YAML, log_of, publish_state_ranker
from tests.serving.waiting import wait_until

LOG = log_of(300)
SPEC = parse_spec(STATE_YAML.replace("label_wait: 60s", "label_wait: 800ms"), where="here")
VIDEOS = [{"video_id": "v1", "tags": ["t1"]}, {"video_id": "v2", "tags": ["t2"]}]
HOUR_MS = 3_600_000


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(hot_swap, "POLL_S", 0.05)


@pytest.fixture
def registry(tmp_path, server):
    with server.client() as store:
        store.flushall()
    publish_state_ranker(tmp_path, LOG, spec=SPEC)
    return tmp_path


@pytest.fixture
def log(server):
    with connect_later(server.url, timeout_s=5) as client:
        yield RedisEventLog(client)


def app_of(registry, server):
    return create_app(ServingSettings(registry=str(registry), redis_url=server.url, live_features=True))


def show(app, log, request_id, user):
    """Write that a viewer was shown two videos."""
    encoder = app.state.ranking.model.encoder
    return log.append(
        Kind.IMPRESSION, impression_for(encoder, request_id, {"user_id": user}, VIDEOS).to_bytes()
    )


def known(app, user):
    """What the state of the model that ranks says of a viewer in an hour."""
    model = app.state.ranking.model
    records = model.encoder.records[Group.REQUEST]
    words = records.of_rows([{"user_id": user}])
    at_ms = np.full(1, time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS + 2 * HOUR_MS)
    said = model.state.features.look_up(Group.REQUEST, words, records, at_ms)
    return repr((said.numbers.tolist(), [h.values.tolist() for h in said.histories.values()]))


def test_what_is_shown_and_what_viewers_do_is_known_to_every_process(registry, server, log):
    one, other = app_of(registry, server), app_of(registry, server)
    with serving(one), serving(other):
        nobody = known(one, "new")
        show(one, log, "r1", "new")
        wait_until(lambda: known(one, "new") != nobody, "the impression to be known")
        shown = known(one, "new")
        log.append(Kind.FEEDBACK, to_bytes([event("e1", "r1", "v2")]))
        wait_until(lambda: known(one, "new") != shown, "the click to be known")

        wait_until(lambda: known(one, "new") == known(other, "new"), "both processes to know the same")
        assert known(one, "u1") == known(other, "u1")
        assert known(one, "nobody") == known(other, "nobody") != known(one, "new")


def test_a_viewer_who_clicked_is_known_otherwise_than_one_who_did_not(registry, server, log):
    app = app_of(registry, server)
    with serving(app):
        nobody = known(app, "a")
        for user in ("a", "b"):
            show(app, log, f"of {user}", user)
        log.append(Kind.FEEDBACK, to_bytes([event("e1", "of a", "v2"), event("e1", "of a", "v2")]))

        wait_until(lambda: "0.0" in known(app, "b") and known(app, "b") != nobody, "impressions to be known")
        wait_until(lambda: known(app, "a") != known(app, "b"), "the click to be known")


def test_a_model_that_takes_over_knows_what_was_followed(registry, server, log):
    app = app_of(registry, server)
    with serving(app):
        nobody = known(app, "new")
        show(app, log, "r1", "new")
        wait_until(lambda: known(app, "new") != nobody, "the impression to be known")
        before = app.state.ranking.model

        publish_state_ranker(registry, LOG, seed=2, spec=SPEC)
        wait_until(lambda: app.state.ranking.model is not before, "the new model to rank")
        assert known(app, "new") != nobody

        waiting = known(app, "later")
        show(app, log, "r2", "later")
        wait_until(lambda: known(app, "later") != waiting, "the new model to follow")
        log.append(Kind.FEEDBACK, to_bytes([event("e2", "r2", "v1")]))
        shown = known(app, "later")
        wait_until(lambda: known(app, "later") != shown, "feedback to reach the new model")


def test_nothing_is_kept_for_a_model_that_could_not_take_over(registry, server, log, monkeypatch):
    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(hot_swap.HotSwap, "_copy_videos", fail)
    app = app_of(registry, server)
    with serving(app):
        states, before = app.state.ranking._models._states, app.state.ranking.model
        publish_state_ranker(registry, LOG, seed=2, spec=SPEC)
        wait_until(lambda: app.state.ranking.refused_version, "the new model to be refused")
        nobody = known(app, "new")
        show(app, log, "r1", "new")
        wait_until(lambda: known(app, "new") != nobody, "the old model to follow")
        wait_until(lambda: states._heir is None, "the other one to be forgotten")
        assert states._since == []
        assert app.state.ranking.model is before


def test_an_unexpected_error_does_not_end_the_following(registry, server, log, monkeypatch, caplog):
    monkeypatch.setattr(event_follower, "RETRY_S", 0.05)
    app = app_of(registry, server)
    failures = iter([RuntimeError("once")])
    take_in = event_follower._take_in

    def failing(*arguments, **options):
        if failure := next(failures, None):
            raise failure
        take_in(*arguments, **options)

    monkeypatch.setattr(event_follower, "_take_in", failing)
    with serving(app):
        nobody = known(app, "new")
        show(app, log, "r1", "new")
        wait_until(lambda: known(app, "new") != nobody, "the impression to be known all the same")
    assert "followed anew" in caplog.text


def test_a_service_that_starts_later_reads_what_its_bundle_does_not_know(registry, server, log):
    first = app_of(registry, server)
    show(first, log, "r1", "new")
    with serving(app_of(registry, server)) as client:
        app = client  # the service answers while it reads
        assert app.get("/readyz").status_code == 200
    again = app_of(registry, server)
    nobody = known(again, "new")
    with serving(again):
        wait_until(lambda: known(again, "new") != nobody, "the impression to be known")


def test_it_goes_on_when_redis_is_back_and_says_what_was_dropped(registry, server, log, caplog):
    app = app_of(registry, server)
    with serving(app):
        nobody = known(app, "b")
        show(app, log, "r1", "a")
        wait_until(lambda: known(app, "a") != nobody, "the impression to be known")
        server.kill()
        wait_until(lambda: "features of the state stay as they are" in caplog.text, "the warning")
        server.start()
        with server.client() as store:
            store.delete(events_key())
        show(app, log, "r2", "b")
        wait_until(lambda: known(app, "b") != nobody, "the new log to be followed")

        for number in range(3):
            last = show(app, log, f"s{number}", "c")
        log.drop_before(last.next())
        show(app, log, "t", "d")
        wait_until(lambda: known(app, "d") != nobody, "what comes after the dropped entries")
