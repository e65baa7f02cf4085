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
