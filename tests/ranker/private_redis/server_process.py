"""Users of a private server in processes of their own, and waiting for what becomes of it."""

import contextlib
import os
import subprocess
import sys
import time

import pytest
import redis

USER = """
import sys
from pathlib import Path
import redis
from ranker.private_redis.server import private_server
with private_server(Path(sys.argv[1])) as url, redis.Redis.from_url(url) as client:
    print(client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def user_process(home):
    """Another process that uses the server until its standard input closes."""
    arguments = [sys.executable, "-c", USER, str(home)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def server_pid(url):
    with redis.Redis.from_url(url) as client:
        return client.info("server")["process_id"]


def wait_for_end(pid):
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail(f"the server {pid} still runs")


def wait_for_answer(client):
    for _ in range(3000):
        with contextlib.suppress(redis.ConnectionError):
            return client.ping()
        time.sleep(0.01)
    pytest.fail("no server came back")


def wait_for_another(url, pid):
    """The process id of the server that stands in for a killed one."""
    for _ in range(3000):
        with contextlib.suppress(redis.ConnectionError):
            if server_pid(url) != pid:
                return server_pid(url)
        time.sleep(0.01)
    pytest.fail("no other server came")


def keeper_pid(url):
    command = ["ps", "-o", "ppid=", "-p", str(server_pid(url))]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)
