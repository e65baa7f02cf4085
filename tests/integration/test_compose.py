"""The compose stack, as it is started anywhere: built, up, ranking and learning, killed by parts, down."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from tests.integration.docker_session import ROOT, NoDockerError, docker_prefix, docker_session
from tests.serving.waiting import wait_until
from training.sources.simulated.source import SimulatedSource
from training.sources.simulated.world_file import LIVE_CONFIG

PROJECT = "watchnext-test"
DAYS = 1
CANDIDATES = 200
SHOWN = 10
PUBLISH_EVERY = "5s"


class Stack:
    """Commands to the stack of this test."""

    def __init__(self, environment, keys):
        self.environment = {
            **environment,
            "WATCHNEXT_KEYS": str(keys),
            "WATCHNEXT_VIEWERS_KEY": str(keys.with_name("viewers.key")),
            "WATCHNEXT_PUBLISH_EVERY": PUBLISH_EVERY,
            "WATCHNEXT_PORT": "0",
            "WATCHNEXT_DAYS": str(DAYS),
        }

    def docker(self, *arguments, **changes):
        return subprocess.run(
            ["docker", *arguments],
            env={**self.environment, **changes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    def compose(self, *arguments, **changes):
        file = str(ROOT / "docker" / "compose.yaml")
        return self.docker("compose", "--project-name", PROJECT, "--file", file, *arguments, **changes)

    def must(self, *arguments):
        done = self.compose(*arguments)
        assert done.returncode == 0, f"compose {arguments}:\n{done.stdout[-5000:]}"
        return done.stdout

    def inspect(self, service):
        container = self.must("ps", "--all", "--quiet", service).strip()
        return json.loads(self.docker("inspect", container).stdout)[0]


@pytest.fixture(scope="module")
def say(request):
    """Print into the log of the tests, captured or not."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def say(line):
        with capture.global_and_fixture_disabled():
            print(line, flush=True)

    return say


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    """A file with one key, made as the head of compose.yaml says, and the key, which viewers have as well."""
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    new = [sys.executable, "-m", "watchnext", "keys", "new", "--name", "test", "--role", "write"]
    key = subprocess.run([*new, "--file", str(file)], capture_output=True, text=True, check=True).stdout
    file.with_name("viewers.key").write_text(key)
    for readable in (file, file.with_name("viewers.key")):
        readable.chmod(0o644)
    return file, key.strip()


@pytest.fixture(scope="module")
def stack(key_file, say):
    try:
        prefix = docker_prefix()
    except NoDockerError as reason:
        say(f"\n  the compose stack is not tested: {reason}")
        pytest.skip(str(reason))
    started = time.monotonic()

    def passed(what):
        nonlocal started
        say(f"  {what}: {time.monotonic() - started:.0f} s")
        started = time.monotonic()

    with docker_session(prefix) as environment:
        stack = Stack(environment, key_file[0])
        say("")
        passed("a docker that works")
        try:
            stack.must("--profile", "demo", "down", "--volumes")  # what a killed run left
            stack.must("build")
            passed("images built")
            up = stack.compose("up", "--detach", "--wait")
            assert up.returncode == 0, up.stdout + stack.compose("logs").stdout
            passed("stack up: world simulated, its log learned, features loaded, service ready")
            for service in ("service", "trainer", "redis"):
                image = stack.inspect(service)["Image"]
                size = stack.docker("image", "inspect", "--format", "{{.Size}}", image).stdout
                say(f"  image of {service}: {int(size) / 1e6:,.0f} MB")
            yield stack
        finally:
            started = time.monotonic()
            stack.must("--profile", "demo", "down", "--volumes")
            passed("stack down")
        label = f"label=com.docker.compose.project={PROJECT}"
        assert stack.docker("volume", "ls", "--quiet", "--filter", label).stdout == ""
        assert stack.docker("ps", "--all", "--quiet", "--filter", label).stdout == ""


@pytest.fixture
def client(stack, key_file):
    address = stack.must("port", "service", "8000").strip()
    headers = {"Authorization": f"Bearer {key_file[1]}"}
    with httpx.Client(base_url=f"http://{address}", headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def body():
    """A request for a viewer and videos of the world that the trainer made."""
    world = SimulatedSource(DAYS, seed=0, config=LIVE_CONFIG)
    viewer = next(iter(world.users()))["user_id"][0]
    videos = next(iter(world.videos()))["video_id"].slice(0, CANDIDATES).to_pylist()
    return {
        "user": {"id": str(viewer)},
        "query_video_id": str(videos[0]),
        "context": {"device": "phone", "hour": 21},
        "candidates": [{"id": str(video)} for video in videos],
    }


def rank(client, body):
    response = client.post("/v1/rank", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def use(client, body):
    """Ask for a page, and click on all of it; say which model has ranked it."""
    page = rank(client, {**body, "limit": SHOWN})
    about = {"request_id": page["request_id"], "kind": "click"}
    events = [
        {"event_id": f"{page['request_id']} {item['id']}", "video_id": item["id"], **about}
        for item in page["items"]
    ]
    answer = client.post("/v1/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"written": SHOWN, "rejected": []}
    return page["model_version"]


def wait_for_a_newer_model(client, body, before, seconds=180):
    """Use the service until another model answers without anything missing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            version = use(client, body)
        except (AssertionError, httpx.HTTPError) as error:  # it is away, or cannot write events yet
            version, said = before, error
        else:
            said = f"{version} ranks"
        if version != before:
            return version
        assert time.monotonic() < deadline, f"expected a model after {before} within {seconds} s; {said}"
        time.sleep(1)


def test_the_simulated_world_is_ranked_by_stored_features(client, body):
    answer = rank(client, body)

    assert answer["unknown"] == {"user": False, "videos": []}
    assert answer["degraded"] == []
    assert {item["id"] for item in answer["items"]} == {video["id"] for video in body["candidates"]}
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > CANDIDATES / 2  # it tells videos apart


def test_without_a_key_nothing_is_ranked(client, body):
    del client.headers["Authorization"]

    assert client.post("/v1/rank", json=body).status_code == 401
    assert client.get("/readyz").status_code == 200


def test_one_port_is_published_on_loopback(stack):
    published = [
        (service, binding["HostIp"])
        for service in ("redis", "trainer", "service")  # the viewers run in a profile of their own
        for bindings in (stack.inspect(service)["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    ]

    assert published == [("service", "127.0.0.1")]


@pytest.mark.parametrize("service", ["redis", "service", "trainer"])
def test_a_container_has_no_root_no_capability_and_no_disk_to_write_to(stack, service):
    state = dict(
        line.split(":", 1) for line in stack.must("exec", "-T", service, "cat", "/proc/1/status").splitlines()
    )

    assert "0" not in state["Uid"].split() + state["Gid"].split() + state["Groups"].split()
    assert int(state["CapEff"], 16) == int(state["CapBnd"], 16) == 0
    assert state["NoNewPrivs"].strip() == "1"
    assert stack.inspect(service)["HostConfig"]["ReadonlyRootfs"]


@pytest.mark.parametrize(
    ("service", "has", "lacks"),
    [("service", {"fastapi"}, {"matplotlib", "tensorboard"}), ("trainer", {"matplotlib"}, {"fastapi"})],
)
def test_an_image_carries_the_libraries_of_its_own_half(stack, service, has, lacks):
    look = f"from importlib.util import find_spec; print([n for n in {sorted(has | lacks)} if find_spec(n)])"
    image = stack.inspect(service)["Image"]

    found = stack.docker("run", "--rm", "--entrypoint", "python", image, "-c", look).stdout

    assert found.strip() == str(sorted(has))


def test_ranking_goes_on_without_redis_and_its_features_survive_the_restart(stack, client, body):
    rank(client, body)

    stack.must("stop", "redis")
    without = rank(client, body)
    assert {"feature_store", "impressions"} <= set(without["degraded"])
    assert without["unknown"]["videos"] == []  # their features are resident

    stack.must("start", "redis")
    patience = time.monotonic() + 60
    while (after := rank(client, body))["degraded"] and time.monotonic() < patience:
        time.sleep(0.2)
    assert after["degraded"] == []
    assert after["unknown"] == {"user": False, "videos": []}


def test_feedback_is_learned_and_a_newer_model_answers(client, body, say):
    first = use(client, body)
    began = time.monotonic()
    second = wait_for_a_newer_model(client, body, first)
    say(f"  a model that has learned from feedback answers after {time.monotonic() - began:.0f} s")

    assert client.get("/v1/model").json()["model_version"] == second


@pytest.mark.parametrize("service", ["redis", "trainer", "service"])
def test_the_loop_recovers_from_the_death_of_a_container(stack, client, body, say, service):
    before = use(client, body)
    process = stack.inspect(service)["State"]["Pid"]
    began = time.monotonic()
    # As a crash: `docker kill` would count as a wish that it stay away.
    os.kill(process, signal.SIGKILL)

    wait_until(lambda: stack.inspect(service)["State"]["Pid"] not in (0, process), f"another {service}")
    client.base_url = f"http://{stack.must('port', 'service', '8000').strip()}"
    newer = wait_for_a_newer_model(client, body, before)
    wait_for_a_newer_model(client, body, newer)
    say(f"  two newer models answer {time.monotonic() - began:.0f} s after the {service} was killed")


def test_viewers_use_the_stack_in_the_profile_demo(stack, client, body, monkeypatch):
    monkeypatch.setitem(stack.environment, "COMPOSE_PROFILES", "demo")
    stack.must("up", "--detach", "viewers")

    def written():
        lines = client.get("/metrics").text.splitlines()
        return sum(
            float(line.split()[1]) for line in lines if line.startswith("watchnext_events_written_total")
        )

    before = written()
    wait_until(lambda: written() > before + 100, "events of viewers")
    stack.must("stop", "viewers")
    assert stack.inspect("viewers")["State"]["ExitCode"] == 0
    assert "pages" in stack.must("logs", "--no-log-prefix", "viewers")


def test_the_trainer_stops_in_good_order(stack):
    stack.must("stop", "trainer")

    assert stack.inspect("trainer")["State"]["ExitCode"] == 0


def test_a_missing_key_file_is_named(stack, tmp_path):
    missing = str(tmp_path / "nowhere.yaml")

    refused = stack.compose("run", "--rm", "--no-deps", "-T", "service", WATCHNEXT_KEYS=missing)

    assert refused.returncode != 0
    assert missing in refused.stdout


def test_the_service_stops_in_good_order(stack):
    stack.must("stop", "service")

    assert stack.inspect("service")["State"]["ExitCode"] == 0
