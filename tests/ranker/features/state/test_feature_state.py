"""The state as a whole: what a row may know, and that nothing else decides what it knows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.rate import RateFeature
from ranker.features.sides import Group
from tests.ranker.features.state import naive
from tests.ranker.features.state.small_state import (
    STATE_SPEC,
    Log,
    Machine,
    logs,
    one,
    one_wait,
    same,
    same_state,
    together,
    with_waits,
)


@given(logs())
def test_a_row_knows_what_a_plain_count_of_the_rows_known_by_then_says(log: Log) -> None:
    machine = Machine()

    known = machine.replay(log)

    for feature in STATE_SPEC.state_features:
        found = known[feature.name]
        if isinstance(feature, HistoryFeature):
            expected = _hashed(machine, naive.histories(feature, STATE_SPEC, log), feature)
            np.testing.assert_array_equal(found, expected, err_msg=feature.name)
        elif isinstance(feature, AgeFeature):
            ages_s = np.array(naive.ages(feature, STATE_SPEC, log), np.float32)
            np.testing.assert_array_equal(found, ages_s, err_msg=feature.name)
        elif isinstance(feature, RateFeature):
            rates = naive.rates(feature, STATE_SPEC, log)
            np.testing.assert_allclose(found, rates, rtol=1e-4, atol=1e-5, err_msg=feature.name)


@given(logs(), st.lists(st.sampled_from([0, 1, 60_000]), min_size=30, max_size=30))
def test_what_is_read_of_a_row_does_not_depend_on_those_beside_it(log: Log, later_ms: list[int]) -> None:
    machine = Machine()
    machine.replay(log)
    times = log.times[-1] + np.array(later_ms[: len(log)])
    asked = Log(log.rows, times, log.labels)

    read, alone = machine.look_up(asked), [machine.look_up(asked[n : n + 1]) for n in range(len(asked))]

    same(read, {name: np.concatenate([one_row[name] for one_row in alone]) for name in read})


@given(logs(), st.sampled_from([0.0, 1.0, 60.0]))
def test_a_replay_is_to_observe_learn_and_look_up_row_by_row(log: Log, wait_s: float) -> None:
    replayed, stepwise = Machine(one_wait(wait_s)), Machine(one_wait(wait_s))
    shown = learned = 0
    read = []
    for now in range(len(log)):
        while log.times[shown] < log.times[now]:
            stepwise.observe(log[shown : shown + 1])
            shown += 1
        while log.times[learned] + 1000 * wait_s < log.times[now]:
            stepwise.learn(log[learned : learned + 1])
            learned += 1
        read.append(stepwise.look_up(log[now : now + 1]))

    known = replayed.replay(log)

    same(known, {name: np.concatenate([row[name] for row in read]) for name in known})


@given(logs(), st.data())
def test_how_a_log_is_cut_into_batches_changes_nothing(log: Log, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(log)), max_size=5)))
    whole, parts = Machine(), Machine()

    known = whole.replay(log)
    read = [parts.replay(log[a:b]) for a, b in zip([0, *cuts], [*cuts, len(log)], strict=True)]

    same(known, {name: np.concatenate([part[name] for part in read]) for name in known})
    same_state(whole.state, parts.state)


@given(logs(), st.data())
def test_saving_and_going_on_from_it_changes_nothing(log: Log, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    never_stopped, first, second = Machine(), Machine(), Machine()
    never_stopped.replay(log[:cut])
    first.replay(log[:cut])

    second.state.load(first.state.state())

    same_state(first.state, second.state)
    same(never_stopped.replay(log[cut:]), second.replay(log[cut:]))
    same_state(never_stopped.state, second.state)


@given(logs())
def test_looking_up_changes_nothing(log: Log) -> None:
    machine, undisturbed = Machine(), Machine()
    for m in (machine, undisturbed):
        m.replay(log)
    later = Log(log.rows, log.times + 10**6, log.labels)

    first = machine.look_up(later)

    same(machine.look_up(later), first)
    same_state(machine.state, undisturbed.state)


@given(logs(), st.data())
def test_no_row_knows_its_own_feedback_nor_any_that_comes_later(log: Log, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(log) - 1))
    labels = log.labels.copy()
    labels[place:] = labels[place:] == 0
    before = log.times <= log.times[place]

    known = Machine().replay(log)

    other = Machine().replay(Log(log.rows, log.times, labels))
    same({n: a[before] for n, a in known.items()}, {n: a[before] for n, a in other.items()})


@pytest.mark.parametrize("wait_ms", [0, 1, 501, 1001, 60_000])
def test_a_label_is_known_a_millisecond_after_its_wait_and_not_before(wait_ms: int) -> None:
    spec = with_waits({"click": wait_ms / 1000})
    labels = {"click": 1.0}
    first = one(10**12, labels, user_id="u", video_id="v")

    def clicks(later_ms: int) -> float:
        log = together(first, one(10**12 + later_ms, user_id="u", video_id="v"))
        return float(Machine(spec).replay(log)["user_rates"][1, 0])

    unknown = float(Machine(spec).replay(first)["user_rates"][0, 0])
    assert clicks(wait_ms) == unknown
    assert clicks(wait_ms + 1) > unknown


def test_labels_of_one_row_become_known_at_their_own_times() -> None:
    labels = {"like": 1.0, "click": 1.0, "watch_time": 9.0}
    shown = one(10**12, labels, user_id="u", video_id="v")
    asked = [one(10**12 + ms, user_id="u", video_id="v") for ms in (1, 1_000, 1_001, 60_000, 60_001)]

    known = Machine().replay(together(shown, *asked))

    clicks, watch_times, likes = (
        known["user_rates"][1:, 3],
        known["user_rates"][1:, 4],
        known["video_rates"][1:, 0],
    )
    assert (likes > 0).tolist() == [True] * 5
    assert np.argmax(clicks > clicks[0]) == 2
    assert np.argmax(watch_times > 0) == 4


def test_impressions_at_the_same_time_do_not_see_each_other() -> None:
    spec = one_wait(0)
    labels = {"click": 1.0, "watch_time": 60.0, "like": 1.0, "stars": 5.0}
    row = one(10**12, labels, user_id="u", video_id="v", author_id="a", tags=["x"], duration_s=1.0)

    known = Machine(spec).replay(together(row, row, row))

    alone = Machine(spec).replay(row)
    same(known, {name: np.repeat(array, 3, axis=0) for name, array in alone.items()})


def test_an_hour_without_rows_decays_what_a_look_up_finds() -> None:
    machine = Machine()
    machine.replay(together(one(10**12, {"like": 1.0}, video_id="v"), one(10**12 + 1, video_id="w")))
    week_ms = 7 * 86_400_000

    counts = [
        float(machine.look_up(one(10**12 + ms, video_id="v"))["video_rates"][0, 3]) for ms in (0, week_ms)
    ]

    assert counts == pytest.approx([np.log(2), np.log(1.5)], rel=1e-6)


def test_nothing_is_known_of_no_rows() -> None:
    known = Machine().replay(one(0)[:0])

    assert {array.shape[0] for array in known.values()} == {0}


def test_a_spec_without_such_features_knows_nothing() -> None:
    columns = tuple(f for f in STATE_SPEC.features if f not in STATE_SPEC.state_features)
    machine = Machine(STATE_SPEC.model_copy(update={"features": columns}))

    assert machine.replay(one(1)) == {}
    assert machine.state.look_up(
        Group.PAIR, machine.words(one(1)), machine.records, np.zeros(1, np.int64)
    ).numbers.shape == (1, 0)


def _hashed(
    machine: Machine, entries: list[list[tuple[str, float]]], feature: HistoryFeature
) -> NDArray[Any]:
    hashed = machine.hashes(["v1", "v2", "v3", "v4", "v5", "p", "q", "x", "y", "z"])
    expected = np.full((len(entries), 2 * feature.length), np.nan)
    expected[:, : feature.length] = 0
    for row, found in enumerate(entries):
        for entry, (value, age_s) in enumerate(found):
            expected[row, [entry, feature.length + entry]] = hashed[value], age_s
    return expected
