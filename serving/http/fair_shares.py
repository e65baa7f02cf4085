"""The order in which requests are worked on: every client gets the same share, counted in what they cost.

Source: Demers, Keshav and Shenker, SIGCOMM 1989, https://doi.org/10.1145/75246.75248. A request's place is
the virtual time at which it would be done if all clients were served at once, each at the same rate. Virtual
time goes on by what was done over the number of clients that would still be served then, so every place is
reached. As requests are done one after the other in truth, most are done before their place is reached; their
clients count until it is. Otherwise virtual time would overtake the places of those that wait, and a small
request that comes would be behind them all.
"""

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(eq=False)
class Ticket:
    """A request that is worked on or waits.

    Attributes:
        client: Whose it is.
        cost: What it costs.
        place: Requests with a lower place are worked on first, and of those with the same the first one.
        served: Whether it was given what it asked for.
    """

    client: Hashable
    cost: float
    place: float
    served: bool = False


class FairShares:
    """The requests in flight, and their places.

    Attributes:
        tickets: Those of the requests in flight, in the order in which they came.
        cost: What they cost together.
    """

    def __init__(self) -> None:
        self.tickets: dict[Ticket, None] = {}
        self.cost = 0.0
        self._virtual_time = 0.0
        self._last_place: dict[Hashable, float] = {}  # of each client, until virtual time reaches it

    def place(self, client: Hashable, cost: float) -> float:
        """The place that a client's next request of this cost would have."""
        return max(self._virtual_time, self._last_place.get(client, 0.0)) + cost

    def ahead(self, place: float) -> float:
        """What the requests cost that go before one which would come now and have this place."""
        return sum(ticket.cost for ticket in self.tickets if ticket.place <= place)

    def ahead_of(self, ticket: Ticket) -> float:
        """What the requests cost that go before one in flight."""
        came_before, cost = True, 0.0
        for other in self.tickets:
            if other is ticket:
                came_before = False
            elif other.place < ticket.place or (came_before and other.place == ticket.place):
                cost += other.cost
        return cost

    def enter(self, client: Hashable, cost: float) -> Ticket:
        """Count a request as in flight."""
        ticket = Ticket(client, cost, self.place(client, cost))
        self.tickets[ticket] = None
        self.cost += cost
        self._last_place[client] = ticket.place
        return ticket

    def amend(self, ticket: Ticket, cost: float) -> None:
        """Correct what a request costs, and its place accordingly."""
        change = cost - ticket.cost
        last_place = self._last_place.get(ticket.client, ticket.place)
        ticket.cost = cost
        ticket.place += change
        self.cost += change
        self._last_place[ticket.client] = last_place + change

    def leave(self, ticket: Ticket) -> None:
        """Count a request as done, however it ended; only one that was served takes time from the others."""
        if ticket.served:
            self._go_on(ticket.cost)
        else:
            self.amend(ticket, 0.0)
        del self.tickets[ticket]
        self.cost -= ticket.cost
        if not self.tickets:
            self._last_place.clear()
        elif self._last_place.get(ticket.client, 0.0) <= self._virtual_time:
            self._last_place.pop(ticket.client, None)

    def _go_on(self, done: float) -> None:
        """Let virtual time go on by work that was done, as if it had been shared out."""
        places = sorted(place for place in self._last_place.values() if place > self._virtual_time)
        for index, place in enumerate(places):
            sharing = len(places) - index
            until_place = (place - self._virtual_time) * sharing
            if until_place > done:
                self._virtual_time += done / sharing
                break
            done -= until_place
            self._virtual_time = place
        self._last_place = {c: place for c, place in self._last_place.items() if place > self._virtual_time}
