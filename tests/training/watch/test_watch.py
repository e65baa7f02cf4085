"""What a trainer that follows the log says of itself, to the log and to Redis."""

from pathlib import Path

import pytest
import redis

from ranker.store.reports import Alarm, TrainerReport, trainer_reports
from tests.training.followers import config, kept, start
from tests.training.live_log import LIVE_SPEC, random_log, write
from training.watch import watch as module
from training.watch.watch import Watch


def test_a_trainer_says_how_it_stands(client: redis.Redis, tmp_path: Path) -> None:
    write(client, random_log(60, seed=2))

    result = start(config(client, tmp_path))

    assert result is not None
    found = trainer_reports(client, 0)["small"]
    trainer = result.trainer
    assert (found.rows, found.learned_ms) == (trainer.rows, trainer.watermark_ms)
    assert (found.model_version, found.watermark_ms) == (result.model_version, trainer.watermark_ms)
    assert found.ended
    assert found.heads.keys() == {task.name for task in LIVE_SPEC.tasks}
    assert found.heads["click"].keys() == {"gate_entropy", "top_expert", "calibration"}
    assert 0 < (found.heads["click"]["gate_entropy"] or 0) <= 1
    assert {"user_id", "duration_s", "tags"} <= found.columns.keys()
    assert found.columns["affinity"]["missing"] == 1


def test_looking_changes_nothing(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(client, random_log(60, seed=2))
    start(config(client, tmp_path / "seldom"))
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    start(config(client, tmp_path / "often"))
    assert kept(tmp_path / "often") == kept(tmp_path / "seldom")


def test_an_alarm_is_said_when_it_begins_and_when_it_ends(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    alarm = Alarm(kind="missing", about="length", expected="at most 20%", found="50%")
    watch = object.__new__(Watch)
    watch._raised, watch._client, watch._name = {}, client, "small"
    raised: list[tuple[Alarm, ...]] = [(), (alarm,), (alarm,), ()]
    for alarms in raised:
        report = TrainerReport(
            at_ms=1, model_version=None, watermark_ms=None, rows=1, learned_ms=None, alarms=alarms
        )
        monkeypatch.setattr(watch, "report", lambda report=report: report)
        watch.look()
    assert [record.message for record in caplog.records if record.name == module.__name__] == [
        "ALARM: missing, length: expected at most 20%, found 50%",
        "no alarm any more: missing, length",
    ]


def test_a_trainer_goes_on_though_nobody_takes_its_report(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(client, random_log(20, seed=2))

    def away(*_: object) -> None:
        raise module.StoreError("expected Redis, found none")

    monkeypatch.setattr(module, "write_report", away)
    assert start(config(client, tmp_path)) is not None


def test_a_trainer_that_learns_nothing_is_not_silent(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whenever it is asked whether to stop, as long as that is due."""
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    looked: list[bool] = []
    monkeypatch.setattr(Watch, "look", lambda watch, *, ended=False: looked.append(ended))

    start(config(client, tmp_path))

    assert len(looked) > 2
    assert looked[-1]
    assert not any(looked[:-1])
