"""Which states may have ranked at a moment, as the events tell."""

from load_tests.soaking.events import Event, ranked


def parts_at(events, moment):
    return [each.part for each in ranked(events) if each.since <= moment <= each.until]


def test_while_a_state_is_stored_and_taken_up_both_may_rank_and_one_otherwise():
    events = [
        Event("swap", at=5.0, until=6.0, version="v"),
        Event("state", at=10.0, until=14.0, part=1),
        Event("state", at=20.0, until=21.0, part=2),
    ]

    assert [parts_at(events, t) for t in (1, 12, 17, 20.5, 99)] == [[0], [0, 1], [1], [1, 2], [2]]


def test_without_a_new_state_that_of_the_bundle_ranks():
    assert parts_at([Event("swap", at=5.0, until=6.0, version="v")], 50) == [0]
