"""A state that follows the log knows what one that replays the joined examples knows."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.spec_file import parse_spec
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.joiner import Joiner
from ranker.stream.state_changes import StateChanges
from tests.ranker.features.state.small_state import STATE_YAML
from tests.ranker.stream.made_events import entry, event, given, impression_for

SPEC = parse_spec(
    STATE_YAML.replace(
        "name: like, group: satisfaction, kind: binary",
        "name: like, group: satisfaction, kind: binary, label_wait: 2s",
    ),
    where="here",
)
T = 1_700_000_000_000
WAIT_MS = 60_000
VIDEOS = [
    {"video_id": "v1", "author_id": "p", "tags": ["x", "y"], "duration_s": 12.0, "uploaded_ms": 5.0},
    {"video_id": "v2", "author_id": "q", "tags": None, "duration_s": None, "uploaded_ms": None},
    {"video_id": "v3", "author_id": None, "tags": ["z"], "duration_s": 70.0, "uploaded_ms": 9.0},
]


def entries(encoder: Encoder) -> list[Entry]:
    """Two hundred impressions with feedback that comes early, late, twice or never."""
    rng = np.random.default_rng(0)
    found: list[Entry] = []
    for number in range(200):
        ms = T + 700 * number
        videos = [VIDEOS[index] for index in rng.permutation(3)[: rng.integers(1, 4)]]
        request = {"user_id": f"u{number % 5}", "tab": "a"}
        found.append(entry(ms, impression_for(encoder, f"r{number}", request, videos)))
        for kind, value in (("click", 1), ("watch_time", 7.5), ("like", 1), ("stars", 4), ("skip", 1)):
            if rng.random() < 0.5:
                late_ms = ms + int(rng.choice([100, 450, 950, 1500, 30_000, 61_000]))
                video = videos[rng.integers(len(videos))]["video_id"]
                one = event(f"{number}{kind}", f"r{number}", video, kind, value)
                found += [given(late_ms, one, number=number + 1), given(late_ms + 50, one, number=number + 1)]
    return sorted(found, key=lambda entry: entry.id)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_a_state_that_follows_knows_what_a_replay_of_the_joined_examples_knows(at_once: int) -> None:
    follower, replayer = Encoder(SPEC), Encoder(SPEC)
    log = entries(follower)
    state = follower.feature_state
    changes = StateChanges(follower, state.next_row)
    for start in range(0, len(log), at_once):
        part = log[start : start + at_once]
        changes.of(part).apply_to(state)
        state.advance(part[-1].id.ms)
    end_ms = log[-1].id.ms + 10 * WAIT_MS
    state.advance(end_ms)

    joiner = Joiner(SPEC.feedback, wait_s=0)
    joined = [one for entry in log for one in joiner.take(entry)] + joiner.advance(end_ms)
    whole = StateChanges(replayer, 0)
    words = whole.of([entry for entry in log if entry.kind is Kind.IMPRESSION]).words
    times = np.concatenate([[one.time_ms] * len(one.labels) for one in joined]).astype(np.int64)
    labels = np.concatenate([one.labels for one in joined])
    replayer.feature_state.replay(words, replayer.example_records, times, labels)
    replayer.feature_state.advance(end_ms)

    ours, theirs = state, replayer.feature_state
    asked = np.full(len(words), end_ms + 1)
    for group in Group:
        read, expected = (
            one.look_up(group, words, follower.example_records, asked) for one in (ours, theirs)
        )
        np.testing.assert_allclose(read.numbers, expected.numbers, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert len(words) == len(times) > 200
    assert changes.foreign == 0


def test_what_counts_only_if_reported_becomes_a_row_when_the_report_arrives() -> None:
    encoder = Encoder(SPEC)
    made = impression_for(encoder, "r", {"user_id": "u"}, VIDEOS)
    header = made.header.model_copy(update={"reported": True})
    log = [
        entry(T, replace(made, header=header)),
        given(T + 100, event("1", "r", "v3", "click", 1)),
        given(T + 200, event("2", "r", "v3", "shown", 1)),
        given(T + 300, event("3", "r", "v3", "shown", 2), event("4", "r", "v1", "shown", 0)),
        given(T + 400, event("5", "r", "v1", "like", 1), event("6", "r", "v2", "like", 1)),
    ]
    changes = StateChanges(encoder, 7)

    first, second, *others = (changes.of(part) for part in (log[:2], log[2:3], log[3:]))

    assert len(first.words) == len(first.rows) == 0
    assert (second.first_row, second.times.tolist()) == (7, [T + 200])
    names = [label.name for label in SPEC.feedback]
    found = (second.rows, second.columns, second.values)
    assert [each.tolist() for each in found] == [[7], [names.index("click")], [1.0]]
    [third] = others
    assert (third.first_row, third.times.tolist()) == (8, [T + 300])
    assert (third.rows.tolist(), third.columns.tolist()) == ([8], [names.index("like")])
    shown = np.concatenate([second.words, third.words])
    np.testing.assert_array_equal(
        shown,
        changes.of(
            [entry(T + 500, impression_for(encoder, "s", {"user_id": "u"}, [VIDEOS[2], VIDEOS[0]]))]
        ).words,
    )


@pytest.mark.parametrize("wait", ["0s", "2s"])
def test_a_report_counts_for_a_minute_whatever_the_waits_of_labels(wait: str) -> None:
    encoder = Encoder(
        parse_spec(re.sub("label_wait: [0-9a-z]+", f"label_wait: {wait}", STATE_YAML), where="")
    )
    made = impression_for(encoder, "r", {"user_id": "u"}, VIDEOS)
    shown = replace(made, header=made.header.model_copy(update={"reported": True}))
    changes = StateChanges(encoder, 0)

    change = changes.of(
        [
            entry(T, shown),
            given(T + 60_000, event("1", "r", "v3", "shown", 1)),
            given(T + 60_001, event("2", "r", "v1", "shown", 1)),
        ]
    )

    assert change.times.tolist() == [T + 60_000]


def test_changes_that_are_made_twice_change_once() -> None:
    encoder = Encoder(SPEC)
    state, changes = encoder.feature_state, StateChanges(encoder, 0)
    log = [
        entry(T, impression_for(encoder, "r", {"user_id": "u"}, VIDEOS)),
        given(T + 1, event("1", "r", "v1")),
    ]
    first, second = changes.of(log), changes.of([entry(T + 2, impression_for(encoder, "s", {}, VIDEOS))])

    for change in (first, first, second, first, second):
        change.apply_to(state)

    assert state.next_row == 6


def test_a_label_without_a_wait_is_not_followed() -> None:
    encoder = Encoder(parse_spec(re.sub("label_wait: [0-9a-z]+", "label_wait: 0s", STATE_YAML), where=""))
    log = [
        entry(T, impression_for(encoder, "r", {"user_id": "u"}, VIDEOS)),
        given(T + 1, event("1", "r", "v1")),
    ]

    change = StateChanges(encoder, 0).of(log)

    assert len(change.rows) == 0
    assert np.isnan(change.labels).all()


def test_an_impression_that_left_is_forgotten() -> None:
    encoder = Encoder(SPEC)
    changes = StateChanges(encoder, 0)

    changes.of(
        [entry(T + ms, impression_for(encoder, f"r{ms}", {}, VIDEOS)) for ms in range(0, 600_000, 7_000)]
    )

    assert len(changes._waiting) <= 60_000 // 7_000 + 1


def test_impressions_of_another_spec_are_left_out() -> None:
    encoder, other = (
        Encoder(SPEC),
        Encoder(parse_spec(STATE_YAML.replace("uploaded_ms", "born_ms"), where="")),
    )
    changes = StateChanges(encoder, 0)

    change = changes.of(
        [entry(T, impression_for(other, "r", {}, VIDEOS)), given(T + 1, event("1", "r", "v1"))]
    )

    assert len(change.words) == len(change.rows) == 0
    assert changes.foreign == 1


def test_a_damaged_entry_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    encoder = Encoder(SPEC)
    changes = StateChanges(encoder, 0)

    junk = Entry(EntryId(T, 0), Kind.IMPRESSION, b"junk")
    change = changes.of([junk, entry(T + 1, impression_for(encoder, "r", {}, VIDEOS))])

    assert len(change.words) == 3
    assert "expected an impression" in caplog.text
