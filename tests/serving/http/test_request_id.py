import re


def test_every_response_has_a_fresh_name(client):
    names = [client.get(path).headers["X-Request-ID"] for path in ("/healthz", "/healthz", "/nowhere")]
    assert len(set(names)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)


def test_the_clients_own_name_is_not_used(client):
    response = client.get("/healthz", headers={"X-Request-ID": "mine"})
    assert response.headers["X-Request-ID"] != "mine"
