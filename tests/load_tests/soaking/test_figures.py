"""What of a service's memory is growth, and what is taken once."""

import numpy as np
import pytest

from load_tests.soaking.events import SCHEDULE, Event
from load_tests.soaking.figures import growth, memory_steps

SECONDS = 1800.0
BODIES = [Event("bodies", at, at + 1) for at in (800.0, 1200.0, 1500.0)]
FLAT = 700e6 + np.random.default_rng(0).normal(0, 1e6, 180)
TIMES_S = np.linspace(0, SECONDS, 180)


def grown(steps_mb):
    """The slopes if each of the events takes so many MB."""
    size = FLAT.copy()
    for event, step in zip(BODIES, steps_mb, strict=True):
        size[event.until < TIMES_S] += step * 1e6
    return growth(np.column_stack([TIMES_S, size]), BODIES, 0.0, SECONDS)


def test_what_only_the_first_time_takes_is_no_growth_but_is_told():
    found = grown([50, 0, 0])
    assert found["growth_mb_h"][1] <= 0 <= found["growth_mb_h"][2]
    assert found["grown_since_s"] == BODIES[0].until
    assert found["growth_after_warm_up_mb_h"][0] > 1


def test_what_every_time_takes_is_growth():
    low = grown([50, 50, 50])["growth_mb_h"][1]
    assert low > 50


def test_a_leak_is_growth():
    size = FLAT + 100e6 * TIMES_S / 3600
    slope, low, high = growth(np.column_stack([TIMES_S, size]), BODIES, 0.0, SECONDS)["growth_mb_h"]
    assert low < 100 < high
    assert slope == pytest.approx(100, rel=0.1)


def test_an_event_takes_what_stays_until_the_next_one():
    """A swap has two models for a moment, and events may follow each other at once."""
    memory = np.array([[1, 500e6], [5, 500e6], [12, 900e6], [15, 520e6], [18, 530e6], [40, 520e6]])
    events = [Event("swap", 10, 11), Event("bodies", 20, 21), Event("deleted", 22, 23)]
    assert memory_steps(memory, events) == [20.0, None, None]


def test_everything_happens_for_the_first_time_in_the_first_half():
    assert max(map(SCHEDULE.index, SCHEDULE)) < len(SCHEDULE) / 2
