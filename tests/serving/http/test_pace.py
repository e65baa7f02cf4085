import pytest

from serving.http.admission import Admission
from serving.http.metrics import Metrics
from serving.http.pace import Pace


def paced(*batches):
    pace = Pace()
    for requests, candidates, seconds in batches:
        pace.note(requests, candidates, seconds)
    return pace


def admission(inside, pace, most=32):
    found = Admission(most, Metrics(frozenset()), pace)
    found.inside = inside
    return found


def test_the_first_batch_is_the_estimate_and_later_ones_move_it():
    pace = paced((2, 100, 0.4))
    assert (pace.request_s, pace.candidate_s) == pytest.approx((0.2, 0.004))
    pace.note(1, 100, 0.1)
    assert 0.1 < pace.request_s < 0.2
    assert 0.001 < pace.candidate_s < 0.004


def test_an_estimate_that_keeps_requests_out_fades():
    pace = paced((1, 100, 60.0))
    for _ in range(100):
        pace.doubt()
    assert pace.request_s < 0.01


@pytest.mark.parametrize(("inside", "full"), [(0, False), (1, False), (6, False), (8, True), (31, True)])
def test_no_more_are_taken_on_than_can_be_answered_in_time(inside, full):
    assert admission(inside, paced((1, 500, 0.01))).full(0.1) is full


def test_one_is_always_taken_on():
    assert not admission(0, paced((1, 500, 5.0))).full(0.001)


@pytest.mark.parametrize("timeout_s", [None, 60.0])
def test_the_bound_holds_whatever_the_time(timeout_s):
    pace = paced((1, 500, 0.01))
    assert admission(32, pace).full(timeout_s)
    assert not admission(31, pace).full(timeout_s)
