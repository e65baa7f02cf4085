import asyncio

import pytest
from starlette.requests import ClientDisconnect

from serving.http import bodies as module
from serving.http.bodies import Bodies
from serving.http.problems import Problem
from tests.serving.waiting import until


class Sender:
    """Sends parts of a body when it is told to."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def send(self, part, *, more=True):
        self.queue.put_nowait({"type": "http.request", "body": part, "more_body": more})

    async def receive(self):
        return await self.queue.get()


def test_a_body_is_what_came():
    async def main():
        sender = Sender()
        sender.send(b"ab")
        sender.send(b"")
        sender.send(b"c", more=False)
        return await Bodies(3, 60).read(sender.receive)

    assert asyncio.run(main()) == b"abc"


def test_a_body_beyond_the_limit_is_refused_as_it_comes():
    async def main():
        sender = Sender()
        sender.send(b"ab")
        sender.send(b"cd")
        with pytest.raises(Problem, match="413"):
            await Bodies(3, 60).read(sender.receive)

    asyncio.run(main())


def test_who_leaves_is_not_waited_for():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        asyncio.run(Bodies(3, 60).read(receive))


def start(bodies, count):
    senders = [Sender() for _ in range(count)]
    return senders, [asyncio.ensure_future(bodies.read(sender.receive)) for sender in senders]


async def status_of(reading):
    with pytest.raises(Problem) as caught:
        await asyncio.wait_for(reading, 30)
    return caught.value.status_code


def test_of_too_many_that_do_not_come_the_oldest_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_INCOMPLETE", 2)

    async def main():
        senders, readings = start(Bodies(10, 60), 4)
        assert [await status_of(reading) for reading in readings[:2]] == [408, 408]
        for sender in senders[2:]:
            sender.send(b"x", more=False)
        assert await asyncio.gather(*readings[2:]) == [b"x", b"x"]

    asyncio.run(main())


def test_of_those_that_take_too_much_memory_together_the_oldest_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "MAX_INCOMPLETE_BYTES", 10)

    async def main():
        bodies = Bodies(8, 60)
        senders, readings = start(bodies, 3)
        for sender in senders:
            sender.send(b"x" * 5)
        assert await status_of(readings[0]) == 408
        await until(lambda: bodies._held_bytes == 10)
        for sender in senders[1:]:
            sender.send(b"", more=False)
        assert await asyncio.gather(*readings[1:]) == [b"x" * 5] * 2
        assert (bodies._held_bytes, bodies._incomplete) == (0, {})

    asyncio.run(main())
