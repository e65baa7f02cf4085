"""Letting in what has become known between two rows of a log."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.ranker.features.state.small_state import Log, Machine, logs, one, same

FOREVER = 2**53
NOTHING_FALLS_OUT = (
    "user_rates",
    "user_tag_rates",
    "user_tab_rates",
    "user_length_rates",
    "user_age",
    "shown",
    "liked",
    "skipped_tags",
)
"""Features whose tables have room for all keys of the logs."""
T = 1_700_000_000_000


@given(log=logs(), cut=st.integers(0, 30))
def test_a_look_up_at_a_rows_time_reads_what_its_replay_reads(log: Log, cut: int) -> None:
    cut %= len(log)
    replayed, advanced = Machine(), Machine()
    for machine in (replayed, advanced):
        machine.replay(log[:cut])
    row = log[cut : cut + 1]
    advanced.state.advance(int(row.times[0]))
    same(advanced.look_up(row), replayed.replay(row))


@given(log=logs(), cut=st.integers(0, 30))
def test_nothing_is_taken_in_twice_whatever_follows(log: Log, cut: int) -> None:
    cut %= len(log)
    once, often = Machine(), Machine()
    once.replay(log)
    once.state.advance(FOREVER)
    often.replay(log[:cut])
    often.state.advance(FOREVER)
    often.state.advance(FOREVER)
    often.replay(log[cut:])
    often.state.advance(FOREVER)
    asked = Log(log.rows, np.full(len(log), log.times[-1] + 1), log.labels)
    expected, found = once.look_up(asked), often.look_up(asked)
    for name in NOTHING_FALLS_OUT:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_feedback_whose_wait_ends_now_is_not_known_yet() -> None:
    machine = Machine()
    machine.replay(one(T, {"click": 1.0}, user_id="u"))
    asked = one(T + 1_000, user_id="u")
    machine.state.advance(T + 1_000)
    assert machine.look_up(asked)["user_rates"][0, 2] == 0
    machine.state.advance(T + 1_001)
    assert machine.look_up(asked)["user_rates"][0, 2] > 0


def test_a_time_that_lies_behind_changes_nothing() -> None:
    machine = Machine()
    machine.replay(one(T, {"click": 1.0}, user_id="u"))
    machine.state.advance(T + 60_001)
    before = machine.state.state()
    machine.state.advance(T)
    same(machine.state.state(), before)


@given(log=logs())
def test_rows_that_get_their_labels_while_they_wait_are_known_as_those_of_a_log(log: Log) -> None:
    replayed, followed = Machine(), Machine()
    expected = replayed.replay(log)
    read = []
    for now in range(len(log)):
        row = log[now : now + 1]
        followed.state.advance(int(row.times[0]))
        read.append(followed.look_up(row))
        missing = np.full_like(row.labels, np.nan)
        first = followed.state.append(followed.words(row), followed.records, row.times, missing)
        given_labels = np.flatnonzero(~np.isnan(row.labels[0]))
        followed.state.give(
            np.full(len(given_labels), first), given_labels, row.labels[0, given_labels].astype(np.float32)
        )

    same(expected, {name: np.concatenate([one_row[name] for one_row in read]) for name in expected})


def test_feedback_on_a_row_that_waits_no_more_changes_nothing() -> None:
    machine = Machine()
    first = machine.state.append(
        machine.words(row := one(T, user_id="u")), machine.records, row.times, row.labels
    )
    machine.state.advance(T + 60_001)
    before = machine.state.state()

    machine.state.give(np.array([first, first + 1]), np.array([0, 0]), np.ones(2, np.float32))

    same(machine.state.state(), before)
    assert machine.state.next_row == first + 1


def test_a_saved_state_finds_its_rows_by_their_numbers() -> None:
    machine, copy = Machine(), Machine()
    for second in range(3):
        row = one(T + 70_000 * second, user_id="u")
        machine.state.advance(int(row.times[0]))
        last = machine.state.append(machine.words(row), machine.records, row.times, row.labels)
    copy.state.load(machine.state.state())

    copy.state.give(np.array([last]), np.array([0]), np.ones(1, np.float32))
    copy.state.advance(FOREVER)

    assert copy.state.next_row == last + 1 == 3
    assert copy.look_up(one(T + 141_001, user_id="u"))["user_rates"][0, 2] > 0
