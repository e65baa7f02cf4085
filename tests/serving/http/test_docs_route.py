import re

import pytest
from fastapi import FastAPI

from serving.http import middleware
from serving.http.docs_route import FOLDER
from serving.settings import ServingSettings
from tests.serving.conftest import serving


@pytest.fixture(scope="module")
def client():
    app = FastAPI(docs_url=None)
    middleware.install(app, ServingSettings(registry="", redis_url=""))
    with serving(app) as client:
        yield client


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    addresses = re.findall(r"""(?:src|href|url)\W{1,3}["']([^"']+)""", page.text)
    assert {"/docs/swagger-ui.js", "/docs/swagger-ui.css", "/openapi.json"} <= set(addresses)
    assert "//" not in re.sub(r"<!--.*?-->", "", page.text)
    for address in addresses:
        if address.startswith("/"):
            assert client.get(address).status_code == 200


def test_no_other_site_is_told_of_the_document(client):
    assert '"validatorUrl": null' in client.get("/docs").text


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/docs/swagger-ui.js", "swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-ui.css", "swagger-ui.css", "text/css"),
    ],
)
def test_its_parts_are_there(client, path, name, kind):
    answer = client.get(path)
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.content == (FOLDER / name).read_bytes()
    assert len(answer.content) > 100_000


def test_the_licences_are_with_them():
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
    assert "SmartBear" in (FOLDER / "NOTICE").read_text()
