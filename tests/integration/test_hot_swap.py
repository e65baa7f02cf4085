"""Models are exchanged under load: no request fails, and every answer is wholly of one version."""

import json
import shutil
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest

from ranker.bundles.registry import Registry
from ranker.private_redis.server import private_server
from ranker.store.connection import connect
from tests.serving.service_process import service_process
from tests.serving.small_ranker import OTHER_RECORDS_SPEC, SPEC, publish_small_ranker, store_rows
from tests.serving.waiting import join

COUNT = 200
VIDEOS = [{"video_id": str(i), "duration_s": float(i), "author": f"a{i % 9}"} for i in range(COUNT)]
BODY = {
    "user": {"id": "712"},
    "query_video_id": "5",
    "context": {"hour": 21},
    "candidates": [{"id": str(i)} for i in range(COUNT)],
}
COLUMNS = {"user_id": "712", "age": 35.0, "query_video_id": "5", "hour": 21}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with private_server(home) as url, connect(url) as client:
        for spec in (SPEC, OTHER_RECORDS_SPEC):
            store_rows(client, videos=VIDEOS, users=[{"user_id": "712", "age": 35.0}], spec=spec)
        yield home


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    publish_small_ranker(folder, seed=1)
    return folder


@pytest.fixture(scope="module")
def url(folder, home):
    with service_process("--registry", str(folder), "--home", str(home)) as (_, url):
        yield url


def version(url):
    return httpx.get(f"{url}/v1/model", timeout=60).json()["model_version"]


def until_it_ranks(url, wanted):
    deadline = time.monotonic() + PATIENCE_S
    while version(url) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def clicks(answer):
    return np.array(
        [by_id["predictions"]["click"] for by_id in sorted(answer["items"], key=lambda i: int(i["id"]))]
    )


@contextmanager
def load(url, folder):
    """Rank all the while; every answer must be what the version that it names predicts."""
    answers, stopped = [], threading.Event()

    def ask():
        with httpx.Client(base_url=url, timeout=60) as client:
            while not stopped.is_set():
                answers.append(client.post("/v1/rank", json=BODY))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in asking:
            join(thread)
    assert {answer.status_code for answer in answers} == {200}
    expected = {
        name: Registry(str(folder)).read(name).predict(COLUMNS, VIDEOS)[:, 0]
        for name in {answer.json()["model_version"] for answer in answers}
    }
    for one in expected:
        for other in expected:
            assert one == other or np.abs(expected[one] - expected[other]).max() > 0.1  # or it proves nothing
    for answer in answers:
        body = answer.json()
        assert body["degraded"] == []
        assert body["unknown"] == {"user": False, "videos": []}
        np.testing.assert_allclose(clicks(body), expected[body["model_version"]], atol=0.02)


def test_every_answer_under_load_is_of_one_version(url, folder):
    with load(url, folder):
        for seed in range(2, 6):
            until_it_ranks(url, publish_small_ranker(folder, seed=seed))


def test_records_of_another_layout_are_taken_up_under_load(url, folder):
    with load(url, folder):
        until_it_ranks(url, publish_small_ranker(folder, seed=7, spec=OTHER_RECORDS_SPEC))
        until_it_ranks(url, publish_small_ranker(folder, seed=8))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lie(path):
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps({**manifest, "rows": manifest["rows"] + 1}))


def refused(url):
    metrics = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
    [line] = [line for line in metrics if line.startswith('watchnext_swaps_total{result="refused"}')]
    return float(line.split()[-1])


@pytest.mark.parametrize(("name", "damage"), [("model.safetensors", flip), ("manifest.json", lie)])
def test_a_corrupt_bundle_never_ranks(url, folder, tmp_path, name, damage):
    good, before = version(url), refused(url)
    bad = publish_small_ranker(tmp_path, seed=100 + len(name))
    damage(tmp_path / "bundles" / bad / name)
    shutil.copytree(tmp_path / "bundles" / bad, folder / "bundles" / bad)
    with load(url, folder):
        (folder / "current.json").write_text(json.dumps({"version": bad}))
        deadline = time.monotonic() + PATIENCE_S
        while refused(url) == before:
            assert version(url) == good
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert version(url) == good
    until_it_ranks(url, publish_small_ranker(folder, seed=200 + len(name)))
