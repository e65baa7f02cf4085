"""A replay that is taken back leaves no trace."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ranker.features.key_loops import USED, use
from ranker.features.key_table import KeyTable
from tests.ranker.features.state.small_state import Log, Machine, logs, same, same_state


@given(logs(), st.data())
def test_a_replay_that_is_taken_back_leaves_no_trace(log: Log, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    end = data.draw(st.integers(cut, len(log)))
    machine, undisturbed = Machine(), Machine()
    for m in (machine, undisturbed):
        m.replay(log[:cut])

    machine.replay(log[cut:end], reversible=True)
    machine.state.take_back()

    same_state(machine.state, undisturbed.state)
    same(machine.replay(log[cut:]), undisturbed.replay(log[cut:]))
    same_state(machine.state, undisturbed.state)


@given(logs(), st.data())
def test_one_refused_batch_after_the_other_leaves_no_trace(log: Log, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(log)), max_size=5)))
    machine, undisturbed = Machine(), Machine()
    for first, end in zip([0, *cuts], [*cuts, len(log)], strict=True):
        for _ in range(2):
            machine.replay(log[first:end], reversible=True)
            machine.state.take_back()
        same(machine.replay(log[first:end]), undisturbed.replay(log[first:end]))

    same_state(machine.state, undisturbed.state)


@given(st.lists(st.integers(1, 9), max_size=30), st.lists(st.integers(1, 9), max_size=30), st.integers(1, 6))
def test_a_full_table_gets_its_forgotten_keys_back(
    before: list[int], refused: list[int], capacity: int
) -> None:
    def used(table: KeyTable, keys: list[int]) -> None:
        table.reserve(len(keys))
        for key in keys:
            row, _ = use(table.arrays, np.uint64(key << 32))
            table.arrays.rows[row, 2] += key

    table, undisturbed = KeyTable(capacity, words=1), KeyTable(capacity, words=1)
    for each in (table, undisturbed):
        used(each, before)

    table.reserve(len(refused))
    table.note(len(refused))
    used(table, refused)
    table.take_back()

    def content(table: KeyTable) -> list[list[int]]:
        rows = table.by_recency()
        return [table.keys(rows).tolist(), table.known(rows).tolist()]

    assert content(table) == content(undisturbed)
    assert table.arrays.counts[USED] == len({*before}) or len({*before}) > capacity
    for each in (table, undisturbed):
        used(each, [*refused, *before, 11, 12, 13])
    assert content(table) == content(undisturbed)
