import pytest
from fastapi import FastAPI

from serving.http import middleware
from serving.http.auth import ApiKey, hashed
from serving.http.hosts import without_port
from serving.http.roles import Role
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem

LOOPBACK = [
    "localhost",
    "LOCALHOST:8000",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.9.9.9",
    "[::1]",
    "[::1]:8000",
    "::1",
]
FOREIGN = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "",
]
KEY = ApiKey(name="a", role=Role.RANK, sha256=hashed("key"))


def client_of(**settings):
    app = FastAPI()
    middleware.install(app, ServingSettings(registry="", redis_url="", **settings))

    @app.put("/healthz")
    def put():
        return {}

    return serving(app)


@pytest.fixture(scope="module")
def client():
    with client_of(allowed_hosts=("Ranker.example",)) as client:
        yield client


@pytest.mark.parametrize("host", [*LOOPBACK, "ranker.example", "RANKER.example:80"])
def test_this_machine_and_what_is_allowed_are_answered_to(client, host):
    assert client.put("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/docs", "/metrics"])
@pytest.mark.parametrize("host", FOREIGN)
def test_without_keys_no_other_name_is_answered_to(client, host, path):
    answer = client.put(path, headers={"Host": host})
    document = check_problem(answer, 421, "misdirected")
    assert "localhost, ranker.example" in document["detail"]
    assert host not in document["detail"] or not host


def test_with_keys_every_name_is_answered_to_unless_some_are_named():
    with client_of(api_keys=[KEY]) as client:
        assert client.put("/healthz", headers={"Host": "any.example"}).status_code == 200
    with client_of(api_keys=[KEY], allowed_hosts=["mine.example"]) as client:
        assert client.put("/healthz", headers={"Host": "mine.example"}).status_code == 200
        assert client.put("/healthz", headers={"Host": "any.example"}).status_code == 421


@pytest.mark.parametrize(
    ("host", "name"),
    [("a", "a"), ("a:1", "a"), ("[::1]:1", "::1"), ("[::1]", "::1"), ("::1", "::1"), ("", ""), ("[", "")],
)
def test_a_port_is_not_part_of_the_name(host, name):
    assert without_port(host) == name
