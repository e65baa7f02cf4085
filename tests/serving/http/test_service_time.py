import pytest

from serving.http.admission import Admission
from serving.http.deadline import NO_TIMEOUT
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime


def measured(*batches):
    service_time = ServiceTime()
    for requests, candidates, seconds in batches:
        service_time.record(requests, candidates, seconds)
    return service_time


def admission(in_flight, service_time, max_waiting=32):
    found = Admission(max_waiting, Metrics(frozenset()), service_time)
    found.in_flight = in_flight
    return found


def test_the_first_batch_is_the_estimate_and_later_ones_move_it():
    service_time = measured((2, 100, 0.4))
    assert (service_time.request_s, service_time.candidate_s) == pytest.approx((0.2, 0.004))
    service_time.record(1, 100, 0.1)
    assert 0.1 < service_time.request_s < 0.2
    assert 0.001 < service_time.candidate_s < 0.004


def test_an_estimate_that_keeps_requests_out_fades():
    service_time = measured((1, 100, 60.0))
    for _ in range(100):
        service_time.discount()
    assert service_time.request_s < 0.01


@pytest.mark.parametrize(
    ("in_flight", "is_full"), [(0, False), (1, False), (6, False), (8, True), (31, True)]
)
def test_no_more_are_taken_on_than_can_be_answered_in_time(in_flight, is_full):
    assert admission(in_flight, measured((1, 500, 0.01))).is_full(0.1) is is_full


def test_one_is_always_taken_on():
    assert not admission(0, measured((1, 500, 5.0))).is_full(0.001)


@pytest.mark.parametrize("timeout_s", [NO_TIMEOUT, 60.0])
def test_the_bound_holds_whatever_the_time(timeout_s):
    service_time = measured((1, 500, 0.01))
    assert admission(32, service_time).is_full(timeout_s)
    assert not admission(31, service_time).is_full(timeout_s)
