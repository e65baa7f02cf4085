import json
import re
import shutil
from pathlib import Path

import pytest

from ranker.bundles.registry import Registry
from tests.training.small_commands import NOON, Command, small


def test_a_dry_run_prints_the_sizes_of_both_networks_and_writes_nothing(command: Command, log: str) -> None:
    answer = command("train", "--dry-run", "--json", "--registry", "r", "--data", log)

    assert answer.status == 0
    sizes = json.loads(answer.out)
    assert sizes.keys() == {"mmoe", "shared_bottom"}
    multiplications = {kind: size["multiplications"] for kind, size in sizes.items()}
    assert multiplications["mmoe"] == pytest.approx(multiplications["shared_bottom"], rel=0.02)
    assert list(Path().iterdir()) == []
    table = command("train", "--dry-run", "--data", log).out
    assert "mmoe (spec)" in table
    for size in sizes.values():
        assert size.keys() == {"dense_parameters", "embedding_parameters", "multiplications"}
        for number in size.values():
            assert f" {number:,} " in table


def test_a_dry_run_needs_no_registry_and_no_data(command: Command) -> None:
    answer = command("train", "--dry-run")
    assert answer.status == 0
    assert "shared_bottom" in answer.out


def test_training_prints_json_and_nothing_else(command: Command, log: str) -> None:
    answer = command("train", "--registry", "r", "--data", log, "--json", "--until", NOON)
    assert answer.status == 0
    report = json.loads(answer.out)
    assert report.keys() == {"model_version", "rows", "new_rows", "held_back", "implausible", "heads"}
    assert report["heads"].keys() == {"click", "watch_time", "like", "dismiss", "rating"}
    assert report["heads"]["click"]["rows"] == report["rows"]
    assert 0 < report["heads"]["click"]["auc"] < 1
    assert json.loads(Path("r/current.json").read_text()) == {"version": report["model_version"]}


def test_training_prints_a_table_and_the_version(command: Command, log: str) -> None:
    answer = command("train", "--registry", "a [b] c", "--data", log, "--until", "2026-01-01T06:00Z")
    assert answer.status == 0
    assert "…" not in answer.out
    assert "watch_time" in answer.out
    (version,) = [path.name for path in Path("a [b] c/bundles").iterdir()]
    assert f"published {version} in a [b] c after " in answer.out.splitlines()[-1]


def test_training_says_that_nothing_is_new(command: Command, log: str) -> None:
    train = ["train", "--registry", "r", "--data", log, "--until", "2026-01-01T06:00Z", "--resume"]
    assert command(*train).status == 0
    (version,) = [path.name for path in Path("r/bundles").iterdir()]

    again = command(*train, "--late", "skip")
    assert again.status == 0
    found = f"found nothing new after [0-9]+ rows: {version} is in r already, which stays as it is"
    assert re.fullmatch(found, again.out.splitlines()[-1])
    report = json.loads(command(*train, "--json").out)
    assert (report["model_version"], report["new_rows"]) == (version, 0)


def test_training_names_what_is_implausible(command: Command, log: str) -> None:
    Path("narrow.yaml").write_text(
        small(
            tasks="[{name: watch_time, group: engagement, kind: regression, plausible: [0, 1]}]",
            score="{terms: [{head: watch_time}]}",
        )
    )
    train = ["train", "--registry", "r", "--data", log, "--spec", "narrow.yaml", "--until", NOON]
    found = json.loads(command(*train, "--json").out)["implausible"]
    assert found.keys() == {"watch_time"}
    assert found["watch_time"]["rows"] > 100
    assert found["watch_time"]["plausible"] == [0, 1]
    assert found["watch_time"]["furthest"] > 10
    shown = " ".join(command(*train).out.split())
    assert f"watch_time: {found['watch_time']['rows']:,} beyond 0 to 1, the furthest" in shown


def test_evaluation_prints_the_promised_json_and_nothing_else(
    command: Command, log: str, registry: str
) -> None:
    answer = command("evaluate", "--registry", registry, "--data", log, "--json")
    assert answer.status == 0
    report = json.loads(answer.out)
    assert report["features"] == "live"
    click, watch_time = report["heads"]["click"], report["heads"]["watch_time"]
    assert {"auc", "auc_ci", "log_loss", "calibration", "positives"} <= click.keys()
    assert {"rmse", "calibration"} <= watch_time.keys()
    low, high = click["auc_ci"]
    assert low < click["auc"] < high
    assert click["positives"] < report["rows"] < 3_000


def test_evaluation_says_that_features_were_frozen(command: Command, log: str, registry: str) -> None:
    answer = command("evaluate", "--registry", registry, "--data", log, "--features", "frozen")
    assert answer.status == 0
    assert "features frozen;" in answer.out


def test_evaluation_with_a_baseline_prints_both_tables(command: Command, log: str, registry: str) -> None:
    answer = command("evaluate", "--registry", registry, "--data", log, "--baseline")
    assert answer.status == 0
    assert "smoothed rates" in answer.out
    assert "…" not in answer.out


def test_refreshing_the_state_says_what_was_taken_and_takes_it_once(command: Command, log: str) -> None:
    rates = "{name: video_rates, kind: rate, of: [video_id], labels: [click]}"
    video = "{name: video_id, side: candidate, kind: id, buckets: 64}"
    Path("rates.yaml").write_text(small(features=f"[{video}, {rates}]"))
    assert (
        command("train", "--registry", "r", "--data", log, "--spec", "rates.yaml", "--until", NOON).status
        == 0
    )
    refresh = ["features", "state", "--registry", "r", "--data", log, "--home", "home"]

    first = command(*refresh, "--until", "2026-01-01T18:00Z")
    assert first.status == 0
    found = re.fullmatch(
        r"took ([\d,]+) rows up to 2026-01-01T17:\d\d:\d\dZ in [\d.]+ s; stored [\d,]+ keys, [\d.]+ MB\n",
        first.out,
    )
    assert found is not None, first.out
    second = json.loads(command(*refresh, "--json").out)
    assert second.keys() == {"rows", "seconds", "watermark_ms", "keys", "size"}
    assert second["keys"] > 10
    assert 0 < second["rows"] < 3_000 - int(found[1].replace(",", ""))
    third = command(*refresh)
    assert re.fullmatch(
        r"found no rows after 2026-01-01T23:\d\d:\d\dZ: the store stays as it is\n", third.out
    )


def test_loading_features_says_how_many(command: Command, log: str) -> None:
    answer = command("features", "load", "--data", log, "--home", "home")
    assert (answer.status, answer.out) == (0, "loaded 60 users and 90 videos\n")


def test_a_roll_back_is_at_hand(command: Command, registry: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(registry, folder)
    version = Registry(str(folder)).current()
    answer = command("rollback", version, "--registry", str(folder))
    assert answer.out == f"{version} is current in place of {version}\n"
    assert answer.out == command("bundles", "rollback", version, "--registry", str(folder)).out
