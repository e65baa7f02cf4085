"""When a request was made, and how old the state is by then."""

import logging
from types import SimpleNamespace

import pytest

from ranker.errors import InvalidRequestError
from ranker.spec_file import parse_spec
from serving.model.request_time import StateAges, request_time
from tests.serving.small_ranker import SPEC
from tests.serving.state_ranker import STATE_SPEC

NOW_MS = 1_750_000_000_000
DAY_MS = 86_400_000
AGES_ALONE = parse_spec(
    """
name: ages
features:
  - {name: user_id, side: user, kind: id}
  - {name: last_seen, kind: age, of: [user_id]}
tasks: [{name: click, group: engagement, kind: binary}]
score: {terms: [{head: click}]}
""",
    where="test_request_time.py",
)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("serving.model.request_time.time.time_ns", lambda: NOW_MS * 1_000_000)


def model(spec=STATE_SPEC, *, version="v1", watermark_ms=NOW_MS - DAY_MS):
    manifest = SimpleNamespace(model_version=version, watermark_ms=watermark_ms)
    return SimpleNamespace(spec=spec, manifest=manifest, state=SimpleNamespace(watermark_ms=watermark_ms))


def test_a_request_is_made_now_or_when_it_says():
    assert request_time(None, model()) == NOW_MS
    assert request_time(NOW_MS - 5, model()) == NOW_MS - 5


@pytest.mark.parametrize(
    ("given_ms", "meant"),
    [
        (NOW_MS // 1000, "as seconds it would be 2025-06-15T15:06:40Z"),
        (NOW_MS * 1000, "as microseconds it would be 2025-06-15T15:06:40Z"),
        (NOW_MS * 10**6, "as nanoseconds it would be 2025-06-15T15:06:40Z"),
        (NOW_MS + 2 * DAY_MS, "found 1750172800000"),
        (1, "found 1 "),
    ],
)
@pytest.mark.parametrize("watermark_ms", [None, NOW_MS - DAY_MS])
def test_an_implausible_time_is_refused_with_what_was_meant(given_ms, meant, watermark_ms):
    with pytest.raises(InvalidRequestError, match=meant) as caught:
        request_time(given_ms, model(watermark_ms=watermark_ms))
    [mistake] = caught.value.mistakes
    assert mistake.pointer == "/time_ms"
    assert mistake.detail.startswith(
        "expected 'time_ms' in milliseconds since 1970, from 2000-01-01T00:00:00Z"
    )


@pytest.mark.parametrize("watermark_ms", [1_000, NOW_MS + 1000 * DAY_MS])
def test_the_times_that_a_model_has_learned_from_are_plausible(watermark_ms):
    assert request_time(watermark_ms + 60_000, model(watermark_ms=watermark_ms)) == watermark_ms + 60_000


def test_the_age_is_counted_from_the_newest_event_that_the_state_knows():
    assert StateAges().at(NOW_MS, model()) == (86_400.0, False)
    assert StateAges().at(NOW_MS - DAY_MS - 500, model()) == (-0.5, False)
    assert StateAges().at(NOW_MS, model(watermark_ms=None)) == (None, False)
    assert StateAges().at(NOW_MS, model(SPEC)) == (None, False)


@pytest.mark.parametrize(("age_ms", "stale"), [(7 * DAY_MS, False), (7 * DAY_MS + 1, True)])
def test_a_state_is_stale_when_it_is_older_than_the_longest_half_life(age_ms, stale):
    """The longest of the spec's rates is 7 days, the default of `user_tag_rates`."""
    assert StateAges().at(NOW_MS, model(watermark_ms=NOW_MS - age_ms)).stale is stale


def test_ages_alone_do_not_go_stale():
    assert StateAges().at(NOW_MS, model(AGES_ALONE, watermark_ms=1)) == ((NOW_MS - 1) / 1000, False)


def test_a_stale_state_is_told_once_a_model(caplog):
    ages = StateAges()
    with caplog.at_level(logging.WARNING):
        for version in ("v1", "v1", "v2"):
            ages.at(NOW_MS, model(version=version, watermark_ms=NOW_MS - 200 * DAY_MS))

    said = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in said] == ["v1", "v2"]
    assert "200.0 days old at the time of a request, more than the longest half-life of 7.0 days" in said[0]
