"""What a command refuses, and how it says so."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ranker.errors import UserError
from tests.training.small_commands import WORLD, Command, small
from training.options import parse_time
from training.sources.simulated.write import write_simulation

MISTAKES = {
    "an unknown preset": (
        ["train", "--registry", "r", "--spec", "youtube"],
        "--spec: expected a .yaml file or a preset (kuairand, simulated, simulated_live), found 'youtube'",
    ),
    "viewers of no world": (
        ["viewers", "--world", "nowhere"],
        "nowhere/world.json: expected the file that `watchnext simulate` writes beside a log, found: No such",
    ),
    "no such spec": (["train", "--registry", "r", "--spec", "no.yaml"], "no.yaml: expected a spec, found no"),
    "a spec that is a folder": (
        ["train", "--registry", "r", "--spec", "folder.yaml"],
        "folder.yaml: expected a regular file, found a pipe, a device or a folder",
    ),
    "a home of nobody": (
        ["train", "--registry", "~nobody-of-this-name/reg", "--data", "LOG"],
        "~nobody-of-this-name/reg: expected a user's home after '~', found no such user",
    ),
    "data at a home of nobody": (
        ["train", "--registry", "r", "--data", "~nobody-of-this-name/log"],
        "~nobody-of-this-name/log: expected a user's home after '~', found no such user",
    ),
    "a filesystem that lacks what it needs": (
        ["train", "--registry", "github://x", "--data", "LOG"],
        "github://x: expected a file, folder or fsspec URL, found: ",
    ),
    "data in a filesystem that lacks what it needs": (
        ["train", "--registry", "r", "--data", "github://x"],
        "github://x: expected a file, folder or fsspec URL, found: ",
    ),
    "a password in the registry": (
        ["train", "--registry", "gopher://key:hunter2@x", "--data", "LOG"],
        "gopher://x: expected a file, folder or fsspec URL, found: Protocol not known: gopher",
    ),
    "a token in the data": (
        ["train", "--registry", "r", "--data", "memory://absent?token=hunter2"],
        "memory://absent: expected a log in *.parquet, found no such file",
    ),
    "options that Redis has not": (
        ["features", "load", "--data", "LOG", "--redis-url", "redis://:hunter2@localhost?colour=red"],
        "--redis-url: expected redis://HOST:PORT",
    ),
    "a data folder that is a URL": (
        ["features", "load", "--data", "LOG", "--home", "s3://bucket"],
        "s3://bucket: expected a path on this machine, found a URL",
    ),
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
        "expected examples within --since and --until, and not within --late-by",
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
        "gopher://x: expected a file, folder or fsspec URL, found: Protocol not known: gopher",
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
    "a log in seconds": (
        ["train", "--spec", "own.yaml", "--data", "seconds.parquet", "--registry", "r"],
        "seconds.parquet, row 0: expected 'time_ms' in milliseconds since 1970, from 2000-01-01T00:00:00Z ",
    ),
    "judging a log in seconds": (
        ["evaluate", "--data", "seconds.parquet", "--registry", "REGISTRY"],
        "found 1750000000 (1970-01-21T06:06:40Z), as seconds it would be 2025-06-15T15:06:40Z",
    ),
    "loading a log in seconds": (
        ["features", "load", "--spec", "own.yaml", "--data", "seconds.parquet", "--home", "home"],
        "as seconds it would be 2025-06-15T15:06:40Z",
    ),
    "a state of a log in seconds": (
        ["features", "state", "--registry", "REGISTRY", "--data", "seconds.parquet", "--home", "home"],
        "as seconds it would be 2025-06-15T15:06:40Z",
    ),
    "a demo of a log in seconds": (
        ["demo", "--spec", "own.yaml", "--data", "seconds.parquet", "--once"],
        "as seconds it would be 2025-06-15T15:06:40Z",
    ),
    "a plausible time without an offset": (
        ["train", "--registry", "r", "--data", "LOG", "--plausible-since", "1990-01-01"],
        "--plausible-since: expected ISO 8601 with an offset",
    ),
    "a log before what is plausible": (
        ["train", "--registry", "r", "--data", "LOG", "--plausible-since", "2026-02-01T00:00Z"],
        "from 2026-02-01T00:00:00Z to before ",
    ),
    "a log after what is plausible": (
        ["evaluate", "--registry", "REGISTRY", "--data", "LOG", "--plausible-until", "2025-12-31T00:00Z"],
        "to before 2025-12-31T00:00:00Z, found ",
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
    Path("own.yaml").write_text(small())
    seconds = {"time_ms": [1_750_000_000], "user_id": ["u"], "video_id": ["v"], "click": [1]}
    pq.write_table(pa.table(seconds), "seconds.parquet")
    Path("empty").mkdir()
    Path("folder.yaml").mkdir()
    named = {"LOG": log, "REGISTRY": registry}

    answer = command(*(named.get(argument, argument) for argument in arguments))

    assert answer.status == 2
    assert answer.out == ""
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert "hunter2" not in answer.err


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
