"""Asking a running trainer for a bundle: what it answers, and what happens if none runs."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ranker.bundles.registry import Registry
from ranker.errors import UserError
from ranker.spec_file import dump_spec
from ranker.store.connection import connect_later
from ranker.store.keys import export_answer_key, exports_key
from tests.training.followers import config, start, versions
from tests.training.live_log import LIVE_SPEC, random_log, write
from tests.training.small_commands import Command
from training import export_requests
from training.export_requests import ExportRequests, request_export


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_requests, "LOOK_S", 0.0)


@pytest.fixture
def trainer(client: redis.Redis) -> Iterator[ExportRequests]:
    """One that has learned 5 rows, in a thread."""
    requests, ended = ExportRequests(client, "small"), threading.Event()
    requests.export = lambda: {"model_version": "small-1", "rows": 5, "held_back": []}

    def serve() -> None:
        while not ended.wait(0.01):
            requests.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    yield requests
    ended.set()
    thread.join()


def answer(client: redis.Redis, request: str) -> dict[str, object]:
    return dict(json.loads(client.lpop(export_answer_key(request)) or b"{}"))


def test_a_trainer_answers(client: redis.Redis, trainer: ExportRequests) -> None:
    found = request_export(client, "small", wait_s=30)
    assert found == {"model_version": "small-1", "rows": 5, "held_back": []}


def test_a_request_that_nobody_takes_is_withdrawn(client: redis.Redis) -> None:
    with pytest.raises(UserError, match="to run for the spec 'small' with this Redis, found no trainer"):
        request_export(client, "small", wait_s=0.01)
    assert client.llen(exports_key("small")) == 0


def test_a_trainer_without_redis_goes_on() -> None:
    away = ExportRequests(connect_later("redis://localhost:1", timeout_s=1), "small")
    away.export = dict
    away.serve()


def test_a_running_trainer_publishes_what_it_has_learned_between_two_intervals(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(30, seed=2))
    client.rpush(exports_key("small"), "before the first row", *(f"r{number}" for number in range(30)))

    result = start(config(client, tmp_path, publish_every_ms=10**12))

    assert result is not None
    assert answer(client, "before the first row") == {
        "error": "expected rows to have been learned, found none yet"
    }
    answers = [found for number in range(30) if "rows" in (found := answer(client, f"r{number}"))]
    assert {int(str(found["rows"])) for found in answers} >= {32, result.trainer.rows}
    assert {found["model_version"] for found in answers} == set(versions(tmp_path))


def test_a_trainer_that_is_catching_up_does_not_take_the_place_of_a_newer_bundle(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(60, seed=2))
    result = start(config(client, tmp_path))
    client.rpush(exports_key("small"), "r1", "r2")

    start(config(client, tmp_path, restart=True, seed=1))

    assert "learned as much as the bundle that ranks" in str(answer(client, "r2")["error"])
    assert result is not None
    assert result.model_version in Registry(str(tmp_path)).versions()


def test_the_command_says_what_became_of_it(
    command: Command, client: redis.Redis, trainer: ExportRequests
) -> None:
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"
    Path("spec.yaml").write_text(dump_spec(LIVE_SPEC))
    arguments = ("export", "--now", "--spec", "spec.yaml", "--redis-url", url)

    assert command(*arguments).out == "published small-1 after 5 rows\n"
    trainer.export = lambda: {"model_version": "small-2", "rows": 6, "held_back": ["click: expected ..."]}
    assert command(*arguments).out == "held back small-2 after 6 rows\n  click: expected ...\n"
    assert json.loads(command(*arguments, "--json").out)["model_version"] == "small-2"
    trainer.export = lambda: {"error": "expected rows, found none"}
    refused = command(*arguments)
    assert (refused.status, "the trainer of 'small': expected rows, found none" in refused.err) == (2, True)
    assert "--now: expected it, found none" in command(*(a for a in arguments if a != "--now")).err
