"""Which of two services has a port, when both were started before either listened."""

import signal
import socket
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from ranker.errors import UserError
from serving.http.admission import Admission
from serving.http.metrics import Metrics
from serving.http.service_time import ServiceTime
from serving.processes.listening import address, bound_socket, listen
from serving.processes.server import Server
from serving.processes.supervisor import Processes
from serving.settings import ServingSettings

HOST = "127.0.0.1"


@pytest.fixture
def contended():
    """Two sockets that are bound to one port, and the port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with bound_socket(HOST, port) as first, bound_socket(HOST, port) as second:
        yield first, second, port


def taken(port):
    return (
        rf"--host {HOST} --port {port}: expected a free address, found Address already in use: "
        "another process began to listen there"
    )


def test_the_first_that_listens_has_the_port_and_the_second_is_told_which(contended):
    first, second, port = contended
    listen(first)
    with pytest.raises(UserError, match=taken(port)):
        listen(second)


def test_a_port_at_which_somebody_listens_cannot_be_bound():
    with socket.create_server((HOST, 0)) as taken_port:
        port = taken_port.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: expected a free address, found Address already"):
            bound_socket(HOST, port)


def test_a_free_port_is_given_to_nobody_else():
    with bound_socket(HOST, 0) as listener, pytest.raises(UserError, match="expected a free address"):
        bound_socket(HOST, listener.getsockname()[1])


def test_a_host_that_is_no_address_of_this_machine_is_a_users_error():
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1 --port 1: expected a free address, found"):
        bound_socket("192.0.2.1", 1)


@pytest.mark.parametrize(("host", "url"), [(HOST, "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")])
def test_an_address_of_version_6_stands_in_brackets(host, url):
    assert address(host, 8000) == url


def test_a_single_process_whose_port_was_taken_meanwhile_ends_without_saying_that_it_serves(contended):
    listener, other, port = contended
    listen(other)
    said, ended = [], []

    @asynccontextmanager
    async def lifespan(_):
        yield
        ended.append(True)

    app = FastAPI(lifespan=lifespan)
    admission = Admission(32, Metrics(frozenset()), ServiceTime())
    server = Server(app, admission, shutdown_timeout_s=5, on_ready=lambda: said.append("serving"))
    with pytest.raises(UserError, match=taken(port)):
        server.run([listener])
    assert said == []
    assert ended == [True]


def test_several_processes_whose_port_was_taken_meanwhile_end_without_saying_that_they_serve(
    contended, registry, redis_url
):
    listener, other, port = contended
    listen(other)
    said = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    processes = Processes(
        ServingSettings(registry=registry, redis_url=redis_url),
        listener,
        2,
        lambda version: said.append(version),
    )
    try:
        with pytest.raises(UserError, match=taken(port)):
            processes.run()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert said == []
