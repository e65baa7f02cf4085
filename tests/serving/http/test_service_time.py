import pytest

from serving.http import service_time as module
from serving.http.admission import Admission
from serving.http.deadline import NO_TIMEOUT
from serving.http.metrics import Metrics
from serving.http.service_time import REQUEST_COST, STALE_S, ServiceTime, cost_of

COST = cost_of(500)
REQUEST_S = 0.01
"""What a request of 500 candidates takes."""


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "perf_counter", clock)
    return clock


def measured(*batches):
    service_time = ServiceTime()
    for requests, candidates, seconds in batches:
        service_time.record(requests, candidates, seconds)
    return service_time


def admission(in_flight, service_time, max_waiting=32 * int(COST)):
    """A service with requests of 500 candidates in flight, each of another client."""
    found = Admission(max_waiting, Metrics(frozenset()), service_time)
    for client in range(in_flight):
        found._shares.enter(client, COST)
    return found


def is_full(found, timeout_s, candidates=500):
    return found._refuses("another", cost_of(candidates), timeout_s)


def test_a_request_costs_its_candidates_and_a_little_more():
    assert cost_of(500) == REQUEST_COST + 500
    assert cost_of(500, 3) == 3 * REQUEST_COST + 500


def test_the_first_batch_is_the_estimate_and_later_ones_move_it(clock):
    service_time = measured((2, 100, 0.4))
    assert service_time.expected_s(cost_of(100, 2)) == pytest.approx(0.4)
    service_time.record(2, 100, 0.1)
    assert 0.1 < service_time.expected_s(cost_of(100, 2)) < 0.4


def test_small_batches_say_little_of_what_large_ones_take(clock):
    """A batch of one candidate takes a quarter of the time of one of 500, for a fraction of the cost."""
    batches = [(1, 500, REQUEST_S), (1, 1, REQUEST_S / 4)] * 50
    assert measured(*batches).expected_s(10 * COST) == pytest.approx(10 * REQUEST_S, rel=0.25)


def test_before_the_first_batch_nothing_is_expected():
    assert ServiceTime().expected_s(1000) == 0


def test_an_estimate_that_keeps_requests_out_is_not_believed_for_long(clock):
    service_time = measured((1, 500, 60.0))
    clock.now_s += STALE_S * 0.9
    assert service_time.expected_s(COST) == pytest.approx(60)
    clock.now_s += STALE_S * 0.2
    assert service_time.expected_s(COST) == 0


@pytest.mark.parametrize(("in_flight", "full"), [(0, False), (1, False), (6, False), (8, True), (31, True)])
def test_no_more_are_taken_on_than_can_be_answered_in_time(clock, in_flight, full):
    assert is_full(admission(in_flight, measured((1, 500, REQUEST_S))), 0.1) is full


def test_one_is_always_taken_on(clock):
    assert not is_full(admission(0, measured((1, 500, 5.0))), 0.001)


@pytest.mark.parametrize("timeout_s", [NO_TIMEOUT, 60.0])
def test_the_bound_holds_whatever_the_time(clock, timeout_s):
    service_time = measured((1, 500, REQUEST_S))
    assert is_full(admission(32, service_time), timeout_s)
    assert not is_full(admission(31, service_time), timeout_s)


@pytest.mark.parametrize("timeout_s", [NO_TIMEOUT, 0.1])
def test_a_small_request_is_let_in_beside_a_flood_of_large_ones(clock, timeout_s):
    found = admission(32, measured((1, 500, REQUEST_S)))
    assert is_full(found, timeout_s)
    assert not is_full(found, timeout_s, candidates=10)


def test_small_requests_are_bounded_too(clock):
    found = admission(0, ServiceTime(), max_waiting=10 * int(cost_of(0)))
    for client in range(9):
        assert not is_full(found, NO_TIMEOUT, candidates=0), client
        found._shares.enter(client, cost_of(0))
    found._shares.enter(9, cost_of(0))
    assert is_full(found, NO_TIMEOUT, candidates=0)


def test_whatever_their_order_all_together_are_bounded():
    found = admission(0, ServiceTime(), max_waiting=2000)
    accepted = 0
    for client, candidates in enumerate(range(1000, 0, -1)):
        if not found._refuses(client, cost_of(candidates), NO_TIMEOUT):
            found._shares.enter(client, cost_of(candidates))
            accepted += cost_of(candidates)
    assert 2000 < accepted <= 4 * 2000
