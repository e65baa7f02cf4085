import asyncio
import subprocess
import sys
import threading

import pytest

from ranker.errors import RegistryError
from serving.sync.bounded_call import BoundedCalls, call_bounded


def test_a_call_gives_its_result_or_error():
    async def use():
        calls = BoundedCalls("x")
        assert await calls.call(lambda: 3, 60) == 3
        with pytest.raises(ZeroDivisionError):
            await calls.call(lambda: 1 / 0, 60)
        assert await calls.call(lambda: 4, 60) == 4

    asyncio.run(use())
    assert call_bounded("x", lambda: 5, 60) == 5
    with pytest.raises(ZeroDivisionError):
        call_bounded("x", lambda: 1 / 0, 60)


def test_a_call_that_hangs_is_given_up_and_no_other_hangs_beside_it():
    released, started = threading.Event(), []

    def hang():
        started.append(1)
        assert released.wait(60)
        return "late"

    async def use():
        calls = BoundedCalls("/mount")
        for _ in range(3):
            with pytest.raises(RegistryError, match=r"^/mount: expected an answer within 0\.01 s"):
                await calls.call(hang, 0.01)
        assert len(started) == 1
        released.set()
        assert await calls.call(lambda: "new", 60) == "new"

    asyncio.run(use())
    with pytest.raises(RegistryError, match="expected an answer"):
        call_bounded("x", threading.Event().wait, 0.01)


def test_a_call_that_never_returns_does_not_keep_the_process():
    hangs = (
        "import asyncio, threading\n"
        "from serving.sync.bounded_call import BoundedCalls\n"
        "async def use():\n"
        "    try: await BoundedCalls('x').call(threading.Event().wait, 0.01)\n"
        "    except Exception as error: print(error)\n"
        "asyncio.run(use())\n"
    )
    done = subprocess.run([sys.executable, "-c", hangs], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "x: expected an answer within 0.01 s, found none\n")
