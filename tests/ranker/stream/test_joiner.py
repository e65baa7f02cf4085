"""The joiner against a search of the whole log, and against one that starts again at any point."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from ranker.errors import EventLogError
from ranker.labels.binary import BinaryTask
from ranker.labels.regression import RegressionLabel, RegressionTask
from ranker.stream.event_log import Entry, EntryId, Kind
from ranker.stream.feedback import Reason
from ranker.stream.joined import Joined
from ranker.stream.joiner import Clock, Joiner
from tests.ranker.stream.made_events import event, given, shown

LABELS = [
    BinaryTask(name="click", group="engagement", kind="binary", label_wait="2s"),
    RegressionTask(
        name="watch_time",
        group="engagement",
        kind="regression",
        transform="log1p",
        label_wait="5s",
        several="sum",
    ),
    RegressionLabel(name="rating", kind="regression", several="max"),
]
CLICK, WATCH_TIME, RATING = range(3)
WAIT_MS = 5_000


def joiner(**options: Any) -> Joiner:
    return Joiner(LABELS, wait_s=1, **options)


def left(joiner: Joiner, entries: Sequence[Entry], until_ms: int = 10**9) -> list[Joined]:
    found = [joined for entry in entries for joined in joiner.take(entry)]
    return found + joiner.advance(until_ms)


def test_an_impression_leaves_with_what_had_arrived_within_each_labels_wait() -> None:
    entries = [
        shown(1000, "r", ["a", "b"]),
        given(2000, event("1", "r", "a"), event("2", "r", "a", "watch_time", 3)),
        given(3001, event("3", "r", "b"), event("4", "r", "a", "watch_time", 4)),
        given(6000, event("5", "r", "b", "rating", 2), event("6", "r", "b", "rating", 1)),
        given(6001, event("7", "r", "b", "rating", 9)),
    ]

    found = left(one := joiner(), entries)

    assert [joined.id for joined in found] == [EntryId(1000, 0)]
    np.testing.assert_array_equal(found[0].labels, [[1, 7, math.nan], [0, math.nan, 2]])
    assert [(reason, e.event_id) for reason, e in one.take_rejected()] == [
        (Reason.TOO_LATE, "3"),
        (Reason.TOO_LATE, "7"),
    ]
    assert one.take_rejected() == []


def test_it_leaves_only_once_nothing_earlier_can_arrive() -> None:
    one = joiner()
    one.take(shown(1000, "r", ["a"]))

    assert one.advance(1000 + WAIT_MS) == []
    assert len(one.advance(1001 + WAIT_MS)) == 1
    assert one.rows == 0


def test_what_comes_twice_counts_once() -> None:
    entries = [
        shown(1000, "r", ["a"]),
        given(1001, event("1", "r", "a", "watch_time", 3), event("1", "r", "a", "watch_time", 3)),
        shown(1002, "r", ["a"]),
        given(1003, event("1", "r", "a", "watch_time", 3)),
        given(9000, event("x", "other", "a")),
        shown(9001, "r", ["a"]),
    ]

    found = left(one := joiner(), entries)

    assert [joined.labels[0, WATCH_TIME] for joined in found] == [3]
    assert one.repeated_impressions == 2
    assert [reason for reason, _ in one.take_rejected()] == [
        Reason.REPEATED,
        Reason.REPEATED,
        Reason.UNKNOWN_REQUEST,
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("1", "s", "a"), Reason.UNKNOWN_REQUEST),
        (event("1", "r", "z"), Reason.UNKNOWN_VIDEO),
        (event("1", "r", "a", "share"), Reason.UNKNOWN_KIND),
        (event("1", "r", "a", "click", 2), Reason.OUT_OF_RANGE),
        (event("1", "r", "a", "watch_time", -0.5), Reason.OUT_OF_RANGE),
    ],
)
def test_an_event_that_cannot_count_is_set_aside_with_the_reason(bad: Any, reason: Reason) -> None:
    one = joiner()
    one.take(shown(1000, "r", ["a"]))

    one.take(given(1001, bad))

    assert one.take_rejected() == [(reason, bad)]


def test_a_viewer_with_a_million_events_fills_no_memory() -> None:
    one = joiner()
    one.take(shown(1000, "r", ["a", "b"]))
    for number in range(200):
        one.take(given(1001 + number, event(str(number), "r", "a")))

    assert [reason for reason, _ in one.take_rejected()] == [Reason.TOO_MANY] * (200 - 2 * 64)


def test_only_videos_that_were_reported_as_shown_have_a_position() -> None:
    entries = [
        shown(1000, "r", ["a", "b", "c"], reported=True),
        given(1001, event("1", "r", "b", "shown", 0), event("2", "r", "c", "shown", 1)),
    ]

    (joined,) = left(joiner(), entries)

    assert joined.positions.tolist() == [0, 2, 1]


def test_a_sum_that_no_label_can_be_keeps_what_was_there() -> None:
    one = joiner()
    one.take(shown(1000, "r", ["a"]))
    huge = [event(f"e{number}", "r", "a", kind="watch_time", value=3e38) for number in range(3)]
    one.take(given(1001, *huge))

    assert [reason for reason, _ in one.take_rejected()] == [Reason.OUT_OF_RANGE] * 2
    (joined,) = one.advance(10**6)
    assert np.float32(3e38) in joined.labels[0]


def test_a_damaged_entry_changes_nothing() -> None:
    one = joiner()
    one.take(shown(1000, "r", ["a"]))

    for kind in Kind:
        with pytest.raises(EventLogError, match=r"entry 9000-0 of the log"):
            one.take(Entry(EntryId(9000, 0), kind, b"junk"))

    assert len(one.take(given(9001))) == 1


def test_too_many_waiting_rows_leave_early() -> None:
    one = joiner(max_rows=4)
    found = [j for number in range(4) for j in one.take(shown(1000 + number, f"r{number}", ["a", "b"]))]

    assert [joined.id.ms for joined in found] == [1000, 1001]
    assert one.left_early == 2
    assert one.rows == 4


def test_with_the_clock_of_events_the_times_that_they_carry_decide() -> None:
    entries = [
        shown(50, "r", ["a"], time_ms=100_000),
        shown(51, "s", ["a"], time_ms=99_000),
        given(52, event("1", "r", "a", time_ms=102_000), event("2", "s", "a", time_ms=102_000)),
        shown(53, "late", ["a"], time_ms=10_000),
        shown(54, "t", ["a"], time_ms=200_000),
        shown(55, "late", ["b"], time_ms=10_000),
        shown(56, "later", ["b"], time_ms=10_000),
    ]

    found = left(one := joiner(clock=Clock.EVENT), entries)

    assert [joined.impression.header.request_id for joined in found] == ["late", "s", "r", "later"]
    assert [joined.time_ms for joined in found] == [97_000, 99_000, 100_000, 195_000]
    assert [joined.labels[0, CLICK] for joined in found] == [0, 0, 1, 0]
    assert [reason for reason, _ in one.take_rejected()] == [Reason.TOO_LATE]


def oracle(entries: Sequence[Entry]) -> dict[str, list[list[float]]]:
    """The labels of every impression: looked for in the whole log, one after the other."""
    from ranker.stream import feedback
    from ranker.stream.impressions import Impression

    found: dict[str, list[list[float]]] = {}
    for entry in entries:
        if entry.kind is not Kind.IMPRESSION:
            continue
        header = Impression.from_bytes(entry.data, where="").header
        if header.request_id in found:
            continue
        events = [
            (later.id.ms - entry.id.ms, e)
            for later in entries
            if later.kind is Kind.FEEDBACK and later.id > entry.id
            for e in feedback.from_bytes(later.data, where="")
            if e.request_id == header.request_id
        ]
        rows = []
        for video in header.video_ids:
            row = []
            for label, wait_ms in zip(LABELS, (2000, 5000, 5000), strict=True):
                once: dict[str, float] = {}
                for age_ms, e in events:
                    if e.video_id == video and e.kind == label.name and age_ms <= wait_ms:
                        once.setdefault(e.event_id, e.value)
                values = list(once.values())
                if not values:
                    row.append(0.0 if label.is_probability else math.nan)
                elif label.several == "last":
                    row.append(values[-1])
                else:
                    row.append(sum(values) if label.several == "sum" else max(values))
            rows.append(row)
        found[header.request_id] = rows
    return found


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Logs of a few requests with doubled, late and foreign feedback."""
    entries: list[Entry] = []
    ms = 1000
    names = 0
    for _ in range(draw(st.integers(1, 25))):
        ms += draw(st.sampled_from([0, 1, 500, 1999, 2000, 3000, 5000]))
        number = entries[-1].id.number + 1 if entries and entries[-1].id.ms == ms else 0
        request = draw(st.sampled_from("rstu"))
        if draw(st.booleans()):
            time_ms = ms + draw(st.sampled_from([0, 0, -1, -4000, 3000]))
            entries.append(shown(ms, request, ["a", "b"], number=number, time_ms=time_ms))
            continue
        events = []
        for _ in range(draw(st.integers(1, 3))):
            names += draw(st.integers(0, 1))  # the same name again: a doubled event, of one content
            kind = ["click", "watch_time", "rating"][names % 3]
            value = names % 2 if kind == "click" else names
            time_ms = ms + draw(st.sampled_from([0, -1000, 2500]))
            events.append(event(str(names), "rstu"[names % 4], "ab"[names % 2], kind, value, time_ms))
        entries.append(given(ms, *events, number=number))
    return entries


@settings(max_examples=100, deadline=None)
@drawn(logs())
def test_it_finds_what_a_search_of_the_whole_log_finds(entries: list[Entry]) -> None:
    found = left(joiner(), entries)

    expected = oracle(entries)
    assert [joined.impression.header.request_id for joined in found] == list(expected)
    for joined in found:
        np.testing.assert_array_equal(joined.labels, expected[joined.impression.header.request_id])


@settings(max_examples=100, deadline=None)
@drawn(
    logs(),
    st.sampled_from(
        [(Clock.ARRIVAL, 0.5), (Clock.ARRIVAL, 2.0), (Clock.ARRIVAL, 600.0), (Clock.EVENT, 600.0)]
    ),
    st.data(),
)
def test_a_joiner_that_starts_again_goes_on_as_if_it_had_never_stopped(
    entries: list[Entry], how: tuple[Clock, float], data: st.DataObject
) -> None:
    clock, window_s = how
    whole = left(first := joiner(clock=clock, window_s=window_s), entries)
    if not whole:
        return
    stop = data.draw(st.integers(0, len(whole) - 1))
    offset = whole[stop].offset(data.draw(st.integers(0, 2)))

    again = joiner(clock=clock, window_s=window_s, offset=offset)
    rest = left(again, [entry for entry in entries if entry.id > again.read_after])

    assert [joined.id for joined in rest] == [joined.id for joined in whole[stop:]]
    assert [joined.time_ms for joined in rest] == [joined.time_ms for joined in whole[stop:]]
    for one, other in zip(rest, whole[stop:], strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.offset(1) == other.offset(1)
    last = shown(10**9, "last", ["a"], time_ms=10**9)  # lets go of what still waits
    waited, waits = first.take(last), again.take(last)
    assert [joined.id for joined in waits] == [joined.id for joined in waited]
    for one, other in zip(waits, waited, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


def test_an_impression_that_comes_again_while_the_first_one_is_remembered_is_known_after_a_restart() -> None:
    entries = [shown(1000, "r", ["a"]), shown(6900, "s", ["a"]), shown(7500, "r", ["a"])]
    whole = left(joiner(window_s=2), entries)
    assert [joined.id.ms for joined in whole] == [1000, 6900]

    again = joiner(window_s=2, offset=whole[1].offset(0))

    rest = left(again, [entry for entry in entries if entry.id > again.read_after])
    assert [joined.id.ms for joined in rest] == [6900]
