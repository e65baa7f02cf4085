import pytest

from serving.http.fair_shares import FairShares


def served(shares, ticket):
    ticket.served = True
    shares.leave(ticket)


def test_a_small_request_goes_before_large_ones_that_came_earlier():
    shares = FairShares()
    large = [shares.enter(f"flood {i}", 1000) for i in range(5)]
    small = shares.enter("small", 10)
    assert all(small.place < ticket.place for ticket in large)
    assert shares.ahead(shares.place("other", 10)) == 10
    assert shares.ahead(shares.place("other", 1000)) == 5010


def test_what_came_first_goes_first_among_equals():
    shares = FairShares()
    first, second = shares.enter("a", 100), shares.enter("b", 100)
    assert shares.ahead_of(first) == 0
    assert shares.ahead_of(second) == 100
    served(shares, first)
    assert shares.enter("c", 100).place > second.place
    assert shares.ahead_of(second) == 0


def test_the_requests_of_one_client_are_behind_each_other():
    shares = FairShares()
    places = [shares.enter("a", 100).place for _ in range(3)]
    assert places == [100, 200, 300]
    assert shares.enter("b", 100).place == 100


def test_a_stream_of_small_requests_does_not_keep_a_large_one_waiting_for_ever():
    shares = FairShares()
    large = shares.enter("large", 1000)
    overtook = 0
    while (small := shares.enter("small", 10)).place < large.place:
        served(shares, small)
        overtook += 1
    assert overtook == pytest.approx(1000 / 10, rel=0.02)  # two share, so each gets half of what is done


@pytest.mark.parametrize("at_once", [1, 3, 6, 12])
def test_a_small_request_is_not_behind_large_ones_that_came_at_once(at_once):
    """Beside the one that is worked on there is hardly ever one before it, however the large ones come."""
    shares = FairShares()
    large = [shares.enter(client, 1000) for client in range(20)]
    before = []
    for client in range(20, 2000):
        working = min(large, key=lambda ticket: ticket.place)
        large.remove(working)
        before.append(shares.ahead(shares.place("small", 40)) > working.cost)
        served(shares, working)
        if client % at_once == 0:
            large += [shares.enter((client, number), 1000) for number in range(at_once)]
    assert sum(before) < 0.1 * len(before)


def test_a_client_that_comes_back_before_its_place_is_reached_goes_on_from_there():
    """Who asks again and again gets no more than who waits."""
    shares = FairShares()
    waiting = shares.enter("waiting", 1000)
    again = shares.enter("again", 100)
    served(shares, again)
    assert shares.enter("again", 100).place == 200
    assert shares.enter("third", 100).place == waiting.place / 10 + 50


def test_what_a_request_costs_is_corrected_for_it_and_for_its_clients_next_one():
    shares = FairShares()
    ticket = shares.enter("a", 1000)
    shares.amend(ticket, 100)
    assert (ticket.cost, ticket.place, shares.cost) == (100, 100, 100)
    assert shares.place("a", 1) == 101


def test_what_was_refused_takes_no_time_from_others():
    """Or a flood of refusals would bring all that wait before every newcomer."""
    shares = FairShares()
    large = shares.enter("large", 1000)
    for _ in range(1000):
        shares.leave(shares.enter("refused", 1000))
    assert shares.enter("small", 10).place < large.place


def test_nothing_is_kept_of_clients_that_left():
    shares = FairShares()
    for client in range(100):
        shares.leave(shares.enter(client, 10))
    assert (shares.tickets, shares.cost) == ({}, 0)
    assert not shares._last_place
