import asyncio

import pytest

from serving.http import turns as module
from serving.http.turns import Turns, at_once


@pytest.fixture(autouse=True)
def every_step_is_a_slice(monkeypatch):
    monkeypatch.setattr(module, "SLICE_S", -1)


def steps(log, name, count=3):
    for number in range(count):
        log.append((name, number))
        yield
    return name


def test_at_once_takes_all_steps():
    log = []
    assert at_once(steps(log, "a")) == "a"
    assert len(log) == 3


def test_others_are_served_between_slices():
    log = []

    async def other():
        for number in range(3):
            log.append(("other", number))
            await asyncio.sleep(0)

    async def main():
        return await asyncio.gather(Turns().take(0, steps(log, "a")), other())

    assert asyncio.run(main())[0] == "a"
    assert log == [("a", 0), ("other", 0), ("a", 1), ("other", 1), ("a", 2), ("other", 2)]


def test_a_slice_has_as_many_steps_as_fit(monkeypatch):
    monkeypatch.setattr(module, "SLICE_S", 60)
    log = []

    async def main():
        await asyncio.gather(Turns().take(0, steps(log, "a")), Turns().take(0, steps(log, "b")))

    asyncio.run(main())
    assert [name for name, _ in log] == ["a"] * 3 + ["b"] * 3


def take_all(*wanted):
    """Take the turns of (name, place), in this order of asking; give the order of their steps."""
    log = []

    async def main():
        turns = Turns()
        await asyncio.gather(*(turns.take(place, steps(log, name)) for name, place in wanted))

    asyncio.run(main())
    return "".join(name for name, _ in log)


def test_one_is_done_before_the_next_begins_and_the_lowest_place_is_next():
    assert take_all(("a", 1), ("b", 9), ("c", 3), ("d", 3)) == "aaacccdddbbb"


def test_who_comes_with_a_lower_place_goes_first_after_the_next_slice():
    log = []

    async def main():
        turns = Turns()
        large = asyncio.ensure_future(turns.take(1000, steps(log, "L", 4)))
        await asyncio.sleep(0)
        await turns.take(10, steps(log, "s"))
        await asyncio.wait_for(large, 30)

    asyncio.run(main())
    assert "".join(name for name, _ in log) in ("LsssLLL", "LLsssLL")


def test_a_turn_that_fails_or_is_cancelled_is_passed_on():
    log = []

    def fail():
        yield
        raise ValueError("no")

    async def main():
        turns = Turns()
        failing = asyncio.ensure_future(turns.take(0, fail()))
        leaving = asyncio.ensure_future(turns.take(1, steps(log, "left")))
        staying = asyncio.ensure_future(turns.take(2, steps(log, "stayed")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(ValueError, match="no"):
            await failing
        return await asyncio.wait_for(staying, 30)

    assert asyncio.run(main()) == "stayed"
    assert {name for name, _ in log} == {"stayed"}


def test_who_is_cancelled_at_the_moment_of_its_turn_passes_it_on():
    log = []

    async def main():
        turns = Turns()

        async def take_and_cancel_the_next():
            await turns.take(0, steps(log, "a", 1))
            second.cancel()

        first = asyncio.ensure_future(take_and_cancel_the_next())
        second = asyncio.ensure_future(turns.take(1, steps(log, "b")))
        third = asyncio.ensure_future(turns.take(2, steps(log, "c")))
        await asyncio.wait_for(asyncio.gather(first, third), 30)

    asyncio.run(main())
    assert [name for name, _ in log] == ["a", "c", "c", "c"]
