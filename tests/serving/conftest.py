import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ranker.bundles.registry import Registry
from ranker.private_redis.server import private_server
from serving.app import create_app
from serving.http.admission import Admission
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.processes.server import Server
from serving.settings import ServingSettings
from tests.serving.redis_process import redis_process
from tests.serving.small_ranker import publish_small_ranker
from tests.serving.waiting import join


@pytest.fixture(scope="module")
def server():
    """A Redis of a module's own, to be emptied and killed."""
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder)) as server:
        yield server


@pytest.fixture
def store(server):
    """A client of the module's Redis, which is empty."""
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    publish_small_ranker(folder)
    return str(folder)


@pytest.fixture(scope="session")
def bundle(registry):
    return Registry(registry).read()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    with private_server(tmp_path_factory.mktemp("home")) as url:
        yield url


@contextmanager
def serving(app):
    """Serve an app over HTTP from a thread of the test's process."""
    admission = getattr(app.state, "admission", None) or Admission(32, Metrics(frozenset()), ServiceTime())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(app, admission, shutdown_timeout_s=60, on_ready=lambda: None)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()  # requests that come before the server does wait in the listener's queue
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            join(thread, 90)


@pytest.fixture(scope="session", autouse=True)
def float32():
    """Rank in float32 on every machine, so that what is computed can be compared closely."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.sync.hot_swap.fast_bfloat16", lambda device: False)
        yield


@pytest.fixture(scope="session")
def client(registry, redis_url):
    """A client of the service, whose body limit is one that tests can reach."""
    settings = ServingSettings(registry=registry, redis_url=redis_url, max_body_bytes=100_000)
    with serving(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def client_without_redis(registry):
    settings = ServingSettings(registry=registry, redis_url="redis://127.0.0.1:1")
    with serving(create_app(settings)) as client:
        yield client
