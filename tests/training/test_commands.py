import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import watchnext
from ranker.errors import UserError
from training.commands import parse_time
from training.simulate import write_simulation
from training.sources.population import WorldConfig

WORLD = WorldConfig(viewers=60, authors=10, uploads_per_day=30, catalogue_days=2, requests_per_day=300)
NOON = "2026-01-01T12:00Z"


class Answer:
    """What a command printed, and its exit status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Run `watchnext ARGUMENTS` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["watchnext", *arguments])
        with pytest.raises(SystemExit) as ended:
            watchnext.main()
        return Answer(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    """3,000 impressions of one day."""
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(folder, days=1, seed=1, config=WORLD)
    return str(folder)


@pytest.fixture(scope="module")
def registry(log: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry whose bundle has learned the morning."""
    folder = str(tmp_path_factory.mktemp("registry"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["", "train", "--registry", folder, "--data", log, "--until", NOON])
        with pytest.raises(SystemExit, match="0"):
            watchnext.main()
    return folder


def small(**changes: str) -> str:
    """A spec as YAML, with lines changed."""
    lines = {
        "name": "small",
        "features": "[{name: video_id, side: candidate, kind: id}]",
        "tasks": "[{name: click, group: engagement, kind: binary}]",
        "score": "{terms: [{head: click}]}",
    }
    return "\n".join(f"{key}: {value}" for key, value in (lines | changes).items())


MISTAKES = {
    "an unknown preset": (
        ["train", "--registry", "r", "--spec", "youtube"],
        "--spec: expected a .yaml file or a preset (kuairand, simulated), found 'youtube'",
    ),
    "no such spec": (["train", "--registry", "r", "--spec", "no.yaml"], "no.yaml: expected a spec, found no"),
    "a mistake in the spec": (
        ["train", "--registry", "r", "--spec", "wrong.yaml"],
        "wrong.yaml: score term: expected a head out of click, found 'clik'",
    ),
    "no such data": (
        ["train", "--registry", "r", "--data", "nowhere"],
        "--data nowhere: expected KuaiRand's",
    ),
    "brackets in the name": (
        ["train", "--registry", "r", "--data", "[/b]*.parquet"],
        "[/b]*.parquet: expected a log in *.parquet, found no such file",
    ),
    "data of another spec": (
        ["train", "--registry", "r", "--data", "LOG", "--spec", "kuairand"],
        "feature 'user_active_degree' expects a column 'user_active_degree', found time_ms,",
    ),
    "an unknown source": (
        ["train", "--registry", "r", "--data", "LOG", "--source", "csv"],
        "--source: expected kuairand, parquet, simulated, found 'csv'",
    ),
    "a time without an offset": (
        ["train", "--registry", "r", "--data", "LOG", "--since", "2026-01-01T00:00"],
        "--since: expected ISO 8601 with an offset, such as 2022-05-04T00:00+08:00, found '2026-01-01T00:00' "
        "without an offset",
    ),
    "no time": (
        ["evaluate", "--registry", "REGISTRY", "--data", "LOG", "--until", "noon"],
        "--until: expected ISO 8601 with an offset",
    ),
    "an unknown device": (
        ["train", "--registry", "r", "--data", "LOG", "--device", "tpu"],
        "--device: expected auto, cpu or cuda, found 'tpu'",
    ),
    "a range without rows": (
        ["train", "--registry", "r", "--data", "LOG", "--since", "2030-01-01T00:00Z"],
        "expected examples within --since and --until, found none",
    ),
    "no registry": (
        ["train", "--data", "LOG"],
        "--registry: expected a folder or fsspec URL to publish the bundle in, found none",
    ),
    "a registry that is a file": (
        ["train", "--registry", "wrong.yaml", "--data", "LOG"],
        "wrong.yaml/runs/simulated: expected a folder to write to",
    ),
    "a registry nobody can reach": (
        ["train", "--registry", "gopher://x", "--data", "LOG"],
        "gopher://x: expected a folder or an fsspec URL, found: Protocol not known: gopher",
    ),
    "an empty registry": (
        ["evaluate", "--registry", "empty", "--data", "LOG"],
        "empty: expected a registry with a published bundle, found no current.json",
    ),
    "an unknown version": (
        ["evaluate", "--registry", "REGISTRY", "--bundle", "v7", "--data", "LOG"],
        "expected a bundle 'v7', found simulated-20260101T",
    ),
    "judging what was learned": (
        ["evaluate", "--registry", "REGISTRY", "--data", "LOG", "--since", "2026-01-01T11:00+00:00"],
        "--since: expected a time after the bundle's training, which reached 2026-01-01T11:",
    ),
    "judging nothing": (
        ["evaluate", "--registry", "REGISTRY", "--data", "LOG", "--since", "2026-02-01T11:00+00:00"],
        "expected examples within --since and --until, found none",
    ),
    "a folder that is taken": (
        ["simulate", "--out", "LOG", "--days", "1"],
        "expected a new or empty folder, found something in its place",
    ),
    "features of another spec": (
        ["features", "load", "--data", "LOG", "--spec", "kuairand", "--home", "home"],
        "expected a column 'user_active_degree', found user_id, age_group",
    ),
    "a demo without a spec": (
        ["demo", "--data", "LOG", "--once"],
        "expected --spec with a spec for these columns, found none",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_status_2_and_one_line(
    command: Command, log: str, registry: str, arguments: list[str], said: str
) -> None:
    Path("wrong.yaml").write_text(small(score="{terms: [{head: clik}]}"))
    Path("empty").mkdir()
    named = {"LOG": log, "REGISTRY": registry}

    answer = command(*(named.get(argument, argument) for argument in arguments))

    assert answer.status == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("error: ")
    assert said in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--colour", "red"],
        ["train", "--seed", "-1", "--registry", "r"],
        ["evaluate"],
        ["features"],
        ["paint"],
    ],
    ids=" ".join,
)
def test_what_typer_refuses_is_status_2_and_says_how_to_get_help(
    command: Command, arguments: list[str]
) -> None:
    answer = command(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert "--help" in answer.err


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
    assert report.keys() == {"model_version", "rows", "heads"}
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


def test_a_baseline_without_the_training_rows_is_refused(
    command: Command, log: str, registry: str, tmp_path: Path
) -> None:
    folder = tmp_path / "evening"
    write_simulation(folder, days=2, seed=1, config=WORLD)
    arguments = ("--registry", registry, "--data", str(folder / "2026-01-02.parquet"))
    assert command("evaluate", *arguments, "--json").status == 0
    answer = command("evaluate", *arguments, "--baseline")
    assert (answer.status, answer.out) == (2, "")
    assert "expected the rows that the bundle was trained on, found none" in answer.err


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
        r"took ([\d,]+) rows up to 2026-01-01 17:\d\d:\d\d UTC in [\d.]+ s; stored [\d,]+ keys, [\d.]+ MB\n",
        first.out,
    )
    assert found is not None, first.out
    second = json.loads(command(*refresh, "--json").out)
    assert second.keys() == {"rows", "seconds", "watermark_ms", "keys", "size"}
    assert second["keys"] > 10
    assert 0 < second["rows"] < 3_000 - int(found[1].replace(",", ""))
    third = command(*refresh)
    assert re.fullmatch(
        r"found no rows after 2026-01-01 23:\d\d:\d\d UTC: the store stays as it is\n", third.out
    )


def test_loading_features_says_how_many(command: Command, log: str) -> None:
    answer = command("features", "load", "--data", log, "--home", "home")
    assert (answer.status, answer.out) == (0, "loaded 60 users and 90 videos\n")


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        (None, None),
        ("2022-05-04T00:00+08:00", 1_651_593_600_000),
        ("2022-05-03T16:00:00.25Z", 1_651_593_600_250),
        ("20220503T160000Z", 1_651_593_600_000),
    ],
)
def test_times_are_read_with_their_offset(text: str | None, time_ms: int | None) -> None:
    assert parse_time(text, "--since") == time_ms


@pytest.mark.parametrize(
    "text", ["", "now", "2022-05-04", "2022-05-04T00:00", "2022-13-04T00:00Z", "1651593600"]
)
def test_times_without_an_offset_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--since: expected ISO 8601 with an offset"):
        parse_time(text, "--since")
