from collections import Counter

import numpy as np

from training.sources.simulated.world import Feedback
from training.viewers.behaviour import TWICE_WITHIN_S, Habits, answer, explored, shown_events

VIDEOS = [str(video) for video in range(200)]


def all_of_it() -> Feedback:
    """A viewer who clicks, likes and rates everything, and dismisses every other video."""
    yes = np.ones((1, len(VIDEOS)), bool)
    dismiss = yes & (np.arange(len(VIDEOS)) % 2 == 0)
    return Feedback(yes, yes, dismiss, np.full(yes.shape, 30.26), np.full(yes.shape, 4))


def test_everything_that_is_done_is_sent_once_in_its_order() -> None:
    found = answer(np.random.default_rng(0), Habits(answer_s=1.5), "r", VIDEOS, all_of_it())

    assert Counter(due.event["kind"] for due in found.due) == {
        "click": 200,
        "dismiss": 100,
        "watch_time": 200,
        "like": 200,
        "rating": 200,
    }
    sent = {(due.event["video_id"], due.event["kind"]): due for due in found.due}
    assert sent["7", "watch_time"].event["value"] == 30.3
    assert sent["7", "rating"].event["value"] == 4
    for video in VIDEOS:
        times = [sent[video, kind].after_s for kind in ("click", "like", "rating")]
        assert 0 <= times[0] <= times[1] <= times[2] <= 4.5
    assert (found.doubled, found.lost, found.late) == (0, 0, 0)
    assert len({due.event["event_id"] for due in found.due}) == len(found.due)


def test_nothing_is_sent_of_what_was_not_done() -> None:
    nothing = np.zeros((1, len(VIDEOS)), bool)
    feedback = Feedback(nothing, nothing, nothing, nothing * 0.0, nothing * 0)

    assert answer(np.random.default_rng(0), Habits(), "r", VIDEOS, feedback).due == []


def test_shares_are_lost_doubled_and_late() -> None:
    habits = Habits(answer_s=1, double=0.2, lose=0.1, late=0.05, late_s=60)

    found = answer(np.random.default_rng(0), habits, "r", VIDEOS, all_of_it())

    times = Counter(due.event["event_id"] for due in found.due)
    sent = 900 - found.lost
    assert len(times) == sent
    assert sum(count == 2 for count in times.values()) == found.doubled
    late = {due.event["event_id"] for due in found.due if due.after_s >= 60}
    assert len(late) == found.late
    assert max(due.after_s for due in found.due) <= 60 + 3 + TWICE_WITHIN_S
    np.testing.assert_allclose(
        [found.lost / 900, found.doubled / sent, found.late / sent], [0.1, 0.2, 0.05], atol=0.04
    )


def test_an_app_that_explores_shows_other_candidates_at_a_share_of_the_positions() -> None:
    rng, ranked, best = np.random.default_rng(0), VIDEOS[:60], VIDEOS[:10]

    pages = [explored(rng, 0.2, ranked, 10) for _ in range(500)]

    assert all(len(set(page)) == 10 and set(page) <= set(ranked) for page in pages)
    others = np.mean([[video != usual for video, usual in zip(page, best, strict=True)] for page in pages], 0)
    np.testing.assert_allclose(others, 0.2 * 50 / 60, atol=0.06)
    assert explored(rng, 0.0, ranked, 10) == best
    assert [(due.after_s, due.event["kind"], due.event["value"]) for due in shown_events("r", best)] == [
        (0.0, "shown", place) for place in range(1, 11)
    ]
