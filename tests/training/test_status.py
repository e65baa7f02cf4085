"""`watchnext status`: what it shows of the loop, and each alarm once with and once without its cause."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.store.keys import service_reports_key, trainer_reports_key
from ranker.store.reports import Alarm, ServiceReport, TrainerReport, write_report
from ranker.stream.event_log import EntryId, Kind
from ranker.stream.feedback import Reason, to_bytes
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import queue_rejected
from tests.ranker.bundles.small_bundle import aged, resealed
from tests.ranker.stream.made_events import event
from tests.training.small_commands import Command
from training.status import loop_status


def now_ms(client: redis.Redis) -> int:
    return RedisEventLog(client).now_ms()


def trainer(client: redis.Redis, **changed: Any) -> None:
    usual: dict[str, Any] = {
        "at_ms": now_ms(client),
        "model_version": "small-1",
        "watermark_ms": 1,
        "rows": 5,
        "learned_ms": 1,
        "heads": {"click": {"calibration": 1.25, "gate_entropy": None}},
    }
    write_report(client, "small", TrainerReport(**usual | changed))


def service(client: redis.Redis, **changed: Any) -> None:
    usual: dict[str, Any] = {
        "at_ms": now_ms(client),
        "model_version": "small-1",
        "watermark_ms": 1,
        "state_age_s": 0.5,
    }
    report = ServiceReport(**usual | changed)
    client.hset(service_reports_key(), "host:1", report.model_dump_json())


def registry(folder: Path, client: redis.Redis, *, age_s: float = 10) -> Registry:
    found = Registry(str(folder))
    contents = resealed(aged(1), watermark_ms=now_ms(client) - round(age_s * 1000))
    found.make_current(found.add(contents))
    return found


def alarms(client: redis.Redis, bundles: Registry | None = None) -> dict[str, str]:
    return {alarm.kind: str(alarm) for alarm in loop_status(client, bundles).alarms}


def test_an_empty_loop_has_no_alarm(client: redis.Redis, tmp_path: Path) -> None:
    found = loop_status(client, Registry(str(tmp_path)))
    assert (found.trainers, found.services, found.bundle, found.alarms) == ({}, {}, None, [])
    assert found.rejected_share is None


def test_all_that_runs_is_shown_without_an_alarm(client: redis.Redis, tmp_path: Path) -> None:
    RedisEventLog(client).append(Kind.FEEDBACK, to_bytes([]))
    trainer(client)
    service(client)
    found = loop_status(client, registry(tmp_path, client))
    assert found.alarms == []
    assert found.bundle is not None
    assert (found.bundle.model_version, found.bundle.held_back) == ("small-1", [])
    assert found.bundle.age_s == pytest.approx(10, abs=5)


def test_alarms_of_a_trainer_are_passed_on(client: redis.Redis) -> None:
    trainer(
        client,
        alarms=(Alarm(kind="gate", about="click", expected="many experts", found="one"),),
        held_back=("click: expected better, found worse",),
        held_back_version="small-2",
    )
    assert alarms(client) == {
        "gate": "gate, click: expected many experts, found one",
        "held back": "held back, small: expected the newest bundle to rank, found small-2 held back: "
        "click: expected better, found worse",
    }


def test_who_says_nothing_any_more_is_an_alarm(client: redis.Redis) -> None:
    trainer(client, at_ms=now_ms(client) - 61_000)
    service(client, at_ms=now_ms(client) - 200_000)
    assert alarms(client) == {
        "silent trainer": "silent trainer, small: expected at most 1:00, found 1:01",
        "silent service": "silent service, host:1: expected at most 1:00, found 3:20",
    }
    trainer(client, at_ms=now_ms(client) - 61_000, ended=True)
    service(client, at_ms=now_ms(client) - 601_000)
    assert alarms(client) == {}
    assert client.hkeys(service_reports_key()) == []


def test_reports_of_yesterday_and_of_other_versions_are_left_out(client: redis.Redis) -> None:
    trainer(client, at_ms=now_ms(client) - 25 * 3_600_000)
    client.hset(trainer_reports_key(), "other", '{"of": "another version"}')
    assert loop_status(client, None).trainers == {}
    assert client.hkeys(trainer_reports_key()) == [b"other"]


def test_a_reader_that_is_late_or_has_lost_entries_is_an_alarm(client: redis.Redis) -> None:
    log = RedisEventLog(client)
    ids = [log.append(Kind.FEEDBACK, to_bytes([])) for _ in range(3)]
    log.reached("in time", ids[1], done_ms=ids[2].ms - 890_000)
    assert alarms(client) == {}
    log.reached("late", ids[1], done_ms=ids[2].ms - 1_000_000)
    log.reached("lost", ids[0])
    log.drop_before(EntryId(ids[2].ms + 1, 0))
    log.reached("late", ids[2].next(), done_ms=ids[2].ms - 1_000_000)
    log.reached("in time", ids[2].next(), done_ms=ids[2].ms)
    assert alarms(client) == {
        "lag": "lag, late: expected at most 15:00, found 16:40",
        "lost entries": "lost entries, lost: expected the log to have all that it needs, "
        "found some of it dropped",
    }


def test_a_bundle_that_is_old_while_events_come_is_an_alarm(client: redis.Redis, tmp_path: Path) -> None:
    bundles = registry(tmp_path, client, age_s=4000)
    assert alarms(client, bundles) == {}  # nothing has come since
    RedisEventLog(client).append(Kind.FEEDBACK, to_bytes([]))
    assert alarms(client, bundles)["model age"].startswith("model age, small-1: expected at most 1:00:00, f")


def test_a_service_that_refuses_what_is_current_is_an_alarm(client: redis.Redis, tmp_path: Path) -> None:
    bundles = registry(tmp_path, client)
    service(client, model_version="small-0")  # it is about to take it
    assert alarms(client, bundles) == {}
    service(client, model_version="small-0", refused_version="small-1")
    assert alarms(client, bundles) == {
        "refused bundle": "refused bundle, host:1: expected small-1 to rank, "
        "found small-0, as it refused the other"
    }


def test_many_events_that_are_set_aside_are_an_alarm(client: redis.Redis) -> None:
    log = RedisEventLog(client)
    events = [event(f"e{number}", "r1", "17") for number in range(100)]
    log.append(Kind.FEEDBACK, to_bytes(events))

    def reject(count: int) -> None:
        with client.pipeline() as pipeline:
            queue_rejected(pipeline, [(Reason.TOO_LATE, one) for one in events[:count]])
            pipeline.execute()

    reject(5)
    assert loop_status(client, None).rejected_share == 0.05
    assert alarms(client) == {}
    reject(1)
    assert alarms(client) == {
        "rejected": "rejected, events: expected at most 5% of the latest events to be set aside, found 6%; "
        "`watchnext events rejected` shows them"
    }


def test_the_command_shows_it_and_ends_with_1_if_it_is_to_check(
    command: Command, client: redis.Redis, tmp_path: Path
) -> None:
    url = f"unix://{client.connection_pool.connection_kwargs['path']}"
    bundles = registry(tmp_path / "bundles", client)
    verdict = Verdict(compared_with="small-1", reasons=("click: expected better, found worse",))
    created_ms = bundles.manifest("small-1").created_ms + 1
    bundles.add(resealed(aged(2), model_version="small-2", created_ms=created_ms, gate=verdict))
    arguments = ("status", "--redis-url", url, "--registry", str(tmp_path / "bundles"))
    trainer(client)
    service(client)

    shown = command(*arguments, "--check")
    assert shown.status == 0
    for text in ("small-1, learned up to 0:1", "5 rows, said 0:0", "host:1", "1.250", "no alarm"):
        assert text in shown.out
    assert json.loads(command(*arguments, "--json").out)["bundle"]["held_back"] == ["small-2"]
    trainer(client, at_ms=now_ms(client) - 100_000)
    assert "ALARM: silent trainer, small: expected at most 1:00, found 1:40" in command(*arguments).out
    assert command(*arguments).status == 0
    assert command(*arguments, "--check").status == 1
