"""Asking a service for rankings."""


def rank(client, body):
    response = client.post("/v1/rank", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def by_id(answer):
    return {item["id"]: item for item in answer["items"]}
