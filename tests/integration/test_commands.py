"""The whole path as a user types it: every command a process of its own."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ranker.private_redis.server import private_server
from ranker.store.connection import connect


def watchnext(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "watchnext", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def printed_json(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads(ended.stdout)
    return document


def test_from_a_simulated_log_through_parquet_to_a_judged_bundle(tmp_path: Path) -> None:
    simulated = watchnext(tmp_path, "simulate", "--out", "log", "--days", "1", "--seed", "3")
    assert simulated.returncode == 0, simulated.stderr
    rows = pq.read_metadata(tmp_path / "log" / "2026-01-01.parquet").num_rows
    assert simulated.stdout == f"wrote {rows:,} impressions to log\n"

    night = ("--data", "log", "--until", "2026-01-01T09:00Z")
    trained = printed_json(watchnext(tmp_path, "train", "--registry", "registry", *night, "--json"))
    again = watchnext(tmp_path, "train", "--registry", "registry", *night, "--json", "--resume")
    assert printed_json(again) == {**trained, "new_rows": 0}
    assert "resumed registry/runs/simulated/checkpoint.safetensors after" in again.stderr

    loaded = watchnext(tmp_path, "features", "load", "--data", "log", "--home", "home")
    assert loaded.stdout == "loaded 5,000 users and 2,100 videos\n", loaded.stderr
    with private_server(tmp_path / "home") as url, connect(url) as store:
        counts = [store.hlen(key) for key in sorted(store.keys("watchnext:[uv]*"))]
    assert counts == [5_000, 2_100]

    morning = ("--data", "log", "--until", "2026-01-01T12:00Z")
    judged = printed_json(watchnext(tmp_path, "evaluate", "--registry", "registry", *morning, "--json"))
    assert judged["model_version"] == trained["model_version"]
    time_ms = pq.read_table(tmp_path / "log" / "2026-01-01.parquet")["time_ms"].to_numpy()
    noon_ms = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp() * 1000
    assert judged["rows"] == (time_ms < noon_ms).sum() - trained["rows"]
    assert judged["heads"]["click"]["auc_ci"][0] > 0.55


def test_a_mistake_is_one_line_on_standard_error(tmp_path: Path) -> None:
    ended = watchnext(tmp_path, "train", "--registry", "registry", "--data", "nowhere")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: --data nowhere: expected KuaiRand's")
    assert ended.stderr.count("\n") == 1
