"""Following the log of events in one process: what is learned, published, kept, and gone on from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
import torch

from ranker.bundles.bundle import MANIFEST, read_manifest
from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.device import fast_bfloat16
from ranker.errors import BundleError, CheckpointError
from ranker.stream.event_log import BEGINNING
from ranker.stream.redis_event_log import RedisEventLog
from tests.training.followers import PUBLISH_MS, config, interrupt, kept, parts, start, versions
from tests.training.live_log import BEGAN_MS, LIVE_SPEC, WAIT_S, joined_by_search, random_log, write
from training import publisher as module
from training.gate.window import Window
from training.sources.live import LiveSource
from training.trainer import Trainer


def verdicts(folder: Path) -> list[Verdict | None]:
    registry = Registry(str(folder))
    return [registry.manifest(version).gate for version in registry.versions()]


def test_every_row_is_learned_once_in_the_batches_of_the_source(client: redis.Redis, tmp_path: Path) -> None:
    entries = random_log(80, seed=1)
    write(client, entries)

    result = start(config(client, tmp_path))

    assert result is not None
    assert result.trainer.rows == result.new_rows == len(joined_by_search(entries))
    trainer = Trainer(LIVE_SPEC, seed=0, bfloat16=fast_bfloat16(torch.device("cpu")))
    source = LiveSource(LIVE_SPEC, client, wait_s=WAIT_S, stop=lambda: False, flush_s=2)
    for batch in source.batches(32, until_ms=BEGAN_MS + 10**6):
        trainer.step(batch.records, arrived=True)
    expected = trainer.model.state_dict()
    assert all(tensor.equal(expected[name]) for name, tensor in result.trainer.model.state_dict().items())


def test_bundles_are_published_by_event_time_and_at_the_end(client: redis.Redis, tmp_path: Path) -> None:
    entries = random_log(150, seed=2)
    write(client, entries)
    passed = {row["time_ms"] // PUBLISH_MS for row in joined_by_search(entries)}

    result = start(config(client, tmp_path))

    assert result is not None
    registry = Registry(str(tmp_path))
    learned = [registry.manifest(version).rows for version in registry.versions()]
    assert len(passed) > 3
    assert len(passed) <= len(learned) <= len(passed) + 1  # one behind each, and one at the end
    assert learned == sorted(set(learned))
    assert registry.current() == result.model_version == registry.versions()[-1]
    assert result.published
    again = start(config(client, tmp_path))
    assert again is not None
    assert (again.new_rows, again.published, again.model_version) == (0, False, result.model_version)


@pytest.mark.parametrize("after_rows", [1, 64, 150, 300])
def test_one_that_was_killed_ends_as_one_that_never_was(
    client: redis.Redis, tmp_path: Path, after_rows: int
) -> None:
    write(client, random_log(150, seed=3))
    start(config(client, tmp_path / "whole"))

    interrupt(config(client, tmp_path / "other"), after_rows=after_rows)
    start(config(client, tmp_path / "other"))

    assert kept(tmp_path / "other") == kept(tmp_path / "whole")
    assert versions(tmp_path / "other") == versions(tmp_path / "whole")
    assert verdicts(tmp_path / "other") == verdicts(tmp_path / "whole")
    metrics = [pq.read_table(tmp_path / name / "runs/small/metrics.parquet") for name in ("whole", "other")]
    assert metrics[0].equals(metrics[1])


def test_what_is_trimmed_is_not_needed_to_go_on(client: redis.Redis, tmp_path: Path) -> None:
    first, second = parts(random_log(60, seed=4, pause_ms=600_000))
    rare = {"publish_every_ms": 10**9}
    write(client, first + second)
    start(config(client, tmp_path / "whole", **rare))
    client.flushall()

    write(client, first)
    start(config(client, tmp_path / "other", **rare))
    log = RedisEventLog(client)
    assert log.extent().entries < len(first) / 2
    assert log.readers()["small"] > first[0].id
    assert log.done()["small"] > first[-1].id.ms - 1_000_000
    write(client, second)
    start(config(client, tmp_path / "other", **rare))

    assert kept(tmp_path / "other") == kept(tmp_path / "whole")


def test_nothing_is_trimmed_before_the_checkpoint_is_on_the_disk(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = random_log(60, seed=4, pause_ms=600_000)
    write(client, entries)
    log = RedisEventLog(client)
    log.reached("small", entries[5].id)  # of an earlier run, whose checkpoint is gone

    def failing(*_: object, **__: object) -> None:
        assert log.readers() == {"small": BEGINNING}
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run.save", failing)
    with pytest.raises(KeyboardInterrupt):
        start(config(client, tmp_path))
    assert log.extent().entries == len(entries)


def test_a_trainer_without_anything_to_learn_ends_without_a_bundle(
    client: redis.Redis, tmp_path: Path
) -> None:
    assert start(config(client, tmp_path)) is None
    assert versions(tmp_path) == []
    assert RedisEventLog(client).readers() == {"small": BEGINNING}
    write(client, random_log(20, seed=1))
    assert start(config(client, tmp_path)) is not None


def test_the_checkpoint_of_another_run_is_refused_and_the_message_says_how_to_start_anew(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(30, seed=1))
    start(config(client, tmp_path))

    with pytest.raises(CheckpointError, match="expected seed 1, found 0; train --follow --restart to start"):
        start(config(client, tmp_path, seed=1))
    log = RedisEventLog(client)
    before = log.readers()
    log.forget("small")
    with pytest.raises(CheckpointError):
        start(config(client, tmp_path, seed=1))
    assert log.readers() == {}  # who does not read keeps nothing from being trimmed
    log.reached("small", before["small"])
    with pytest.raises(CheckpointError):
        start(config(client, tmp_path, seed=1))
    assert log.readers() == before
    result = start(config(client, tmp_path, seed=1, restart=True))
    assert result is not None
    assert result.new_rows == result.trainer.rows


def test_a_bundle_that_is_not_plausible_is_said_and_training_goes_on(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = random_log(150, seed=2)
    write(client, entries)
    publish = module.publish

    def once_broken(*arguments: Any) -> str:
        if "nothing was published" not in caplog.text:
            raise BundleError("expected plausible numbers")
        return publish(*arguments)

    monkeypatch.setattr(module, "publish", once_broken)
    result = start(config(client, tmp_path))

    assert result is not None
    assert result.trainer.rows == len(joined_by_search(entries))
    assert "nothing was published after" in caplog.text
    assert len(versions(tmp_path)) > 1


def held_at(monkeypatch: pytest.MonkeyPatch, *held_rows: int) -> None:
    """Let bundles of so many rows be held back."""
    judge = module.judge

    def judged(trainer: Trainer, window: Window, registry: Registry) -> Verdict:
        found = judge(trainer, window, registry)
        if trainer.rows in held_rows:
            return found.model_copy(update={"reasons": ("click: expected better, found worse",)})
        return found

    monkeypatch.setattr(module, "judge", judged)


def test_a_bundle_that_is_held_back_is_kept_with_the_reason_and_does_not_rank(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(client, random_log(150, seed=2))
    start(config(client, tmp_path / "whole"))
    whole = Registry(str(tmp_path / "whole"))
    manifests = [whole.manifest(version) for version in whole.versions()]
    held_at(monkeypatch, manifests[1].rows, manifests[-1].rows)

    result = start(config(client, tmp_path / "other"))

    other = Registry(str(tmp_path / "other"))
    assert other.versions() == whole.versions()
    found = [other.manifest(version) for version in other.versions()]
    assert [one.held_back for one in found] == [False, True, *[False] * (len(found) - 3), True]
    assert [one.parent for one in found[:4]] == [
        None,
        found[0].model_version,
        found[0].model_version,
        found[2].model_version,
    ]
    assert other.current() == found[-2].model_version
    assert f"HELD BACK {found[1].model_version} after {found[1].rows} rows" in caplog.text
    assert result is not None
    assert (result.published, result.model_version) == (False, found[-1].model_version)
    assert result.held_back == ("click: expected better, found worse",)
    again = start(config(client, tmp_path / "other"))
    assert again is not None
    assert (again.held_back, other.current()) == (result.held_back, found[-2].model_version)


@pytest.mark.parametrize("step", ["add", "make_current"])
def test_one_that_was_killed_while_it_published_ends_as_one_that_never_was(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write(client, random_log(150, seed=3))
    start(config(client, tmp_path / "whole"))
    last = Registry(str(tmp_path / "whole")).current()
    real = getattr(Registry, step)

    def killed(registry: Registry, given: Any) -> str:
        if registry.url.endswith("other") and last in (given, version_of(given)):
            raise KeyboardInterrupt
        return str(real(registry, given))

    def version_of(given: Any) -> str:
        return "" if isinstance(given, str) else read_manifest(given[MANIFEST], where="").model_version

    with monkeypatch.context() as patch:
        patch.setattr(Registry, step, killed)
        with pytest.raises(KeyboardInterrupt):
            start(config(client, tmp_path / "other"))
    start(config(client, tmp_path / "other"))

    assert versions(tmp_path / "other") == versions(tmp_path / "whole")
    assert Registry(str(tmp_path / "other")).current() == last


def test_what_somebody_has_rolled_back_from_is_not_published_again(
    client: redis.Redis, tmp_path: Path
) -> None:
    write(client, random_log(150, seed=3))
    result = start(config(client, tmp_path))
    registry = Registry(str(tmp_path))
    assert result is not None
    parent = registry.manifest(result.model_version).parent
    assert parent is not None
    registry.make_current(parent, rolls_back=True)

    start(config(client, tmp_path))

    assert registry.current() == parent


def test_a_label_that_waits_for_long_is_named_as_all_heads_wait_for_it(
    client: redis.Redis, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    like = LIVE_SPEC.tasks[-1].model_copy(update={"label_wait": 172_800.0})
    spec = LIVE_SPEC.model_copy(update={"tasks": (*LIVE_SPEC.tasks[:-1], like)})

    start(replace(config(client, tmp_path), spec=spec))

    assert f"by all heads, as the label '{like.name}' waits for that" in caplog.text
