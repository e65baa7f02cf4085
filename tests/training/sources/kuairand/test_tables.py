"""KuaiRand's files: plain or packed, several logs, and damage."""

import gzip
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ranker.errors import SourceError
from ranker.event_times import TimeRange
from tests.training.sources.kuairand.small_kuairand import (
    EXCERPT,
    impression,
    log_csv,
    table_of,
    write_kuairand,
)
from training.sources.kuairand.log import read_log
from training.sources.kuairand.source import KuaiRandSource


def test_small_runs_sort_as_one(tmp_path: Path) -> None:
    times = [random.Random(0).randrange(200) for _ in range(500)]
    rows = [impression(time % 7, place % 11, time, play_time_ms=place) for place, time in enumerate(times)]
    path = write_kuairand(tmp_path, rows)

    at_once = pa.concat_tables(read_log([path]))
    in_runs = pa.concat_tables(read_log([path], run_rows=40, group_rows=8))

    assert in_runs.equals(at_once)
    assert at_once.num_rows == len({(row["user_id"], row["video_id"], row["time_ms"]) for row in rows})


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("inner", ["", "data"])
def test_plain_and_gzipped_folders_read_alike(tmp_path: Path, gzipped: bool, inner: str) -> None:
    write_kuairand(tmp_path / inner, [impression(1, 10, 5, tab=3)], gzipped=gzipped)

    assert table_of(KuaiRandSource(tmp_path))["tab"].to_pylist() == [3]


def test_impressions_in_two_logs_count_once(tmp_path: Path) -> None:
    rows = [impression(1, 10, time) for time in range(4)]
    write_kuairand(tmp_path, rows[1:3], log=EXCERPT)
    write_kuairand(tmp_path, rows[2:], log="log_standard_4_22_to_5_08_pure")
    write_kuairand(tmp_path, rows[:1], log="log_standard_4_08_to_4_21_pure")

    assert table_of(KuaiRandSource(tmp_path))["time_ms"].to_pylist() == [0, 1, 2, 3]


def test_the_random_policy_is_read_by_choice(tmp_path: Path) -> None:
    write_kuairand(tmp_path, [impression(1, 10, 1)])
    with pytest.raises(SourceError, match=r"expected log_random_4_22_to_5_08_pure\.csv"):
        KuaiRandSource(tmp_path, include_random=True)
    write_kuairand(tmp_path, [impression(1, 10, 2)], log="log_random_4_22_to_5_08_pure")

    assert table_of(KuaiRandSource(tmp_path)).num_rows == 1
    assert table_of(KuaiRandSource(tmp_path, include_random=True)).num_rows == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda text: text.replace(",7777,", ",x,"),
            r"line 4: CSV conversion error to int64: invalid value 'x'",
        ),
        (lambda text: text.replace(",7777,", ","), r"line 4: Expected 19 columns, got 18"),
        (
            lambda text: text.replace(",7777,", ",,"),
            r"line 4: expected a whole number as time_ms, found none",
        ),
        (
            lambda text: text.replace("is_click", "clicked"),
            r"found: Column 'is_click' in include_columns does not",
        ),
        (lambda text: "", r"found: Empty CSV file"),
    ],
)
def test_damage_is_named_with_file_and_line(tmp_path: Path, damage: Any, message: str) -> None:
    path = write_kuairand(tmp_path, [impression(1, 10, time) for time in (5, 6, 7777, 8)])
    path.write_text(damage(path.read_text()))

    with pytest.raises(SourceError, match=rf"{EXCERPT}\.csv[:,] .*{message}"):
        table_of(KuaiRandSource(tmp_path))


def test_an_implausible_time_is_named_with_file_and_line(tmp_path: Path) -> None:
    now_ms = 1_651_363_200_000
    write_kuairand(tmp_path, [impression(1, 10, time) for time in (now_ms, now_ms + 1, now_ms // 1000)])

    times = TimeRange.plausible(now_ms)
    with pytest.raises(SourceError, match=rf"{EXCERPT}\.csv, line 4: expected 'time_ms' .*, as seconds it "):
        table_of(KuaiRandSource(tmp_path, times=times))
    assert table_of(KuaiRandSource(tmp_path)).num_rows == 3


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = write_kuairand(tmp_path, [impression(1, 10, time) for time in range(1000)], gzipped=True)
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(SourceError, match=r"csv\.gz: expected CSV .*; found: Truncated compressed stream"):
        table_of(KuaiRandSource(tmp_path))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"expected log_standard.* or {EXCERPT}, as .csv or .csv.gz"):
        KuaiRandSource(tmp_path)
    (tmp_path / f"{EXCERPT}.csv.gz").write_bytes(gzip.compress(log_csv([]).encode()))
    with pytest.raises(SourceError, match=r"expected user_features_pure\.csv or user_features_pure\.csv\.gz"):
        KuaiRandSource(tmp_path)


def test_sorted_runs_are_deleted_when_the_reader_stops_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kuairand(tmp_path / "log", [impression(1, 10, time) for time in range(10)])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    batches = KuaiRandSource(tmp_path / "log").records(3)
    next(batches)
    assert list(scratch.iterdir())
    batches.close()  # type: ignore[attr-defined]

    assert not list(scratch.iterdir())
