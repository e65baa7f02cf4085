import asyncio

from serving.sync.cancellation import cancel_and_wait


def test_a_task_that_overhears_a_cancellation_is_ended_all_the_same():
    overheard = []

    async def work():
        while len(overheard) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                overheard.append(1)

    async def main():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        await cancel_and_wait(task)
        assert task.done()

    asyncio.run(main())
    assert len(overheard) == 3


def test_a_task_that_has_ended_is_left_alone():
    async def main():
        task = asyncio.create_task(asyncio.sleep(0, "result"))
        await asyncio.wait([task])
        await cancel_and_wait(task)
        assert task.result() == "result"

    asyncio.run(main())
