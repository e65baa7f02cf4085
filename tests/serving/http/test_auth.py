import logging
import re
import socket

import pytest
from fastapi import FastAPI, Request

from serving.http import auth, middleware
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.endpoints import ENDPOINTS, needed_role
from serving.http.roles import Role
from serving.settings import ServingSettings
from tests.serving.conftest import serving
from tests.serving.http.test_problems import check_problem

KEYS = {role: fresh_key() for role in Role}
SETTINGS = ServingSettings(
    registry="nowhere",
    redis_url="redis://127.0.0.1:1",
    api_keys=[ApiKey(name=f"of-{role}", role=role, sha256=hashed(key)) for role, key in KEYS.items()],
)
KEYED = [path for path in sorted(ENDPOINTS) if needed_role(path) is not None]


@pytest.fixture(scope="module")
def client():
    """A client of an app that has a route at every path, and says whether it read the body."""
    app = FastAPI(openapi_url=None)
    middleware.install(app, SETTINGS)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def anything(path: str, request: Request):
        await request.body()
        return {"reached": path}

    with serving(app) as client:
        yield client


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", KEYED)
@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_what_it_is_for_and_what_those_before_it_may(client, path, role):
    response = client.get(path, headers=bearer(KEYS[role]))
    if list(Role).index(role) >= list(Role).index(needed_role(path)):
        assert response.status_code == 200
    else:
        document = check_problem(response, 403, "forbidden")
        assert (
            document["detail"]
            == f"expected a key of the role {needed_role(path)}, or of a higher one, found {role}"
        )


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/rank/", "/V1/rank", "//v1/rank", "/v1/models", "/healthz/x"]
)
def test_a_path_that_nobody_listed_is_for_admins_alone(client, path):
    check_problem(client.get(path), 401, "unauthenticated")
    check_problem(client.get(path, headers=bearer(KEYS[Role.WRITE])), 403, "forbidden")
    assert client.get(path, headers=bearer(KEYS[Role.ADMIN])).status_code == 200


@pytest.mark.parametrize("path", sorted(set(ENDPOINTS) - set(KEYED)))
def test_open_paths_need_no_key(client, path):
    assert client.get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        f"Basic {KEYS[Role.ADMIN]}",
        f"Bearer {KEYS[Role.ADMIN][:-1]}",
        f"Bearer {KEYS[Role.ADMIN]}x",
        f"Bearer {KEYS[Role.ADMIN].lower()}",
        f"Bearer {hashed(KEYS[Role.ADMIN])}",
        KEYS[Role.ADMIN],
        "Bearer \xff",
    ],
    ids=["nothing", "no key", "basic", "cut short", "longer", "lower case", "hash", "no scheme", "no ASCII"],
)
def test_whoever_carries_no_known_key_is_told_how_to_carry_one(client, header):
    response = client.get("/v1/rank", headers={"Authorization": header.encode("latin-1")})
    check_problem(response, 401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_the_scheme_may_be_written_in_any_case(client):
    headers = {"Authorization": f"bEARER  {KEYS[Role.RANK]}"}
    assert client.get("/v1/rank", headers=headers).status_code == 200


def test_a_stranger_is_turned_away_before_the_body_has_come(client):
    address = client.base_url.host, client.base_url.port
    with socket.create_connection(address) as connection:
        connection.settimeout(30)
        connection.sendall(b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"


def test_neither_keys_nor_hashes_are_shown(client, caplog):
    caplog.set_level(logging.DEBUG)
    answers = [client.get("/v1/users", headers=bearer(key)).text for key in [*KEYS.values(), "unknown-key"]]
    answers += [
        repr(SETTINGS),
        str(SETTINGS),
        caplog.text,
        client.get("/metrics", headers=bearer(KEYS[Role.RANK])).text,
    ]
    for secret in [*KEYS.values(), *map(hashed, KEYS.values()), "unknown-key"]:
        assert secret not in "".join(answers)


def test_those_turned_away_are_counted(client):
    def count():
        text = client.get("/metrics", headers=bearer(KEYS[Role.RANK])).text
        return [
            float(n) for n in re.findall(r'rejects_total{reason="(?:unauthenticated|forbidden)"} (\S+)', text)
        ]

    before = count()
    client.get("/v1/rank")
    client.get("/v1/users", headers=bearer(KEYS[Role.RANK]))
    assert count() == [n + 1 for n in before]


def test_keys_are_drawn_anew_each_time_and_known_by_their_sha256():
    first, second = fresh_key(), fresh_key()
    assert first != second
    assert len(first) >= 43  # 256 bits in base64
    assert hashed("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_known_key_is_compared_and_in_constant_time(client, monkeypatch):
    compared = []
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda a, b: compared.append(a) or a == b)
    client.get("/v1/rank", headers=bearer(KEYS[Role.RANK]))
    assert len(compared) == len(KEYS)
