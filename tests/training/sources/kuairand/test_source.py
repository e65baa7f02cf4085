from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pytest

from ranker.spec_file import load_spec
from tests.data_location import kuairand_folder
from tests.training.sources.kuairand.small_kuairand import EXCERPT, impression, table_of, write_kuairand
from training.sources.kuairand.source import KuaiRandSource

MINUTE_MS = 60_000
MAY_1_MS = 1_651_363_200_000  # 2022-05-01 in UTC


def small(tmp_path: Path, rows: list[dict[str, Any]]) -> pa.Table:
    write_kuairand(tmp_path, rows)
    return table_of(KuaiRandSource(tmp_path))


@pytest.fixture(scope="module")
def real_source() -> KuaiRandSource:
    return KuaiRandSource(kuairand_folder())


@pytest.fixture(scope="module")
def real(real_source: KuaiRandSource) -> pa.Table:
    return table_of(real_source)


@pytest.fixture(scope="module")
def raw() -> pa.Table:
    return pa_csv.read_csv(kuairand_folder() / f"{EXCERPT}.csv.gz")


def test_ten_days_without_repeats(raw: pa.Table, real: pa.Table) -> None:
    assert raw.num_rows == 171_671
    assert real.num_rows == 166_932
    keys = real.group_by(["user_id", "video_id", "time_ms"]).aggregate([])
    assert keys.num_rows == real.num_rows


def test_rows_are_in_time_order_and_ties_in_the_files_order(raw: pa.Table, real: pa.Table) -> None:
    stable = raw.take(np.argsort(raw["time_ms"].to_numpy(), kind="stable")).select(
        ["time_ms", "user_id", "video_id"]
    )
    seen: set[tuple[int, ...]] = set()
    expected = [
        row for row in zip(*stable.to_pydict().values(), strict=True) if not (row in seen or seen.add(row))
    ]

    assert list(zip(*real.select(stable.column_names).to_pydict().values(), strict=True)) == expected


def test_query_video_and_position_match_a_walk_through_the_log(real: pa.Table) -> None:
    clicks: dict[int, list[tuple[int, int]]] = {}
    last_ms: dict[int, int] = {}
    rank: dict[int, int] = {}
    expected_query, expected_position = [], []
    names = ["time_ms", "user_id", "video_id", "click"]
    for time_ms, user, video, click in zip(*(real[name].to_pylist() for name in names), strict=True):
        earlier = [clicked for clicked_ms, clicked in clicks.get(user, []) if clicked_ms < time_ms]
        expected_query.append(earlier[-1] if earlier else None)
        new = time_ms - last_ms.get(user, time_ms) > 30 * MINUTE_MS
        rank[user] = 1 if new else rank.get(user, 0) + 1
        expected_position.append(rank[user])
        last_ms[user] = time_ms
        if click:
            clicks.setdefault(user, []).append((time_ms, video))

    assert real["query_video_id"].to_pylist() == expected_query
    assert real["position"].to_pylist() == expected_position


def test_history_before_the_first_time_counts_and_the_future_does_not(
    real_source: KuaiRandSource, real: pa.Table
) -> None:
    inside = table_of(real_source, since_ms=MAY_1_MS, until_ms=MAY_1_MS + 86_400_000)

    times = real["time_ms"].to_numpy()
    assert inside.equals(real.filter((times >= MAY_1_MS) & (times < MAY_1_MS + 86_400_000)))


def test_hour_and_weekday_are_beijings(raw: pa.Table, real: pa.Table) -> None:
    # The log's own hour is that of the report, which follows the impression within the hour.
    reported = dict(zip(raw["time_ms"].to_pylist(), pc.divide(raw["hourmin"], 100).to_pylist(), strict=True))
    lag = [reported[time] for time in real["time_ms"].to_pylist()] - real["hour"].to_numpy()
    days = (real["time_ms"].to_numpy() + 8 * 60 * MINUTE_MS) // 86_400_000

    assert np.isin(np.mod(lag, 24), [0, 1]).mean() > 0.999
    assert set(days[real["weekday"].to_numpy() == 6].tolist()) == {19_106, 19_113}  # April 24 and May 1, 2022


def test_labels_are_the_logs(raw: pa.Table, real: pa.Table) -> None:
    unique = raw.group_by(["user_id", "video_id", "time_ms"], use_threads=False).aggregate(
        [(name, "first") for name in ("is_click", "long_view", "is_like", "is_hate", "play_time_ms")]
    )

    for label, column in {
        "click": "is_click",
        "long_view": "long_view",
        "like": "is_like",
        "dismiss": "is_hate",
    }.items():
        assert pc.sum(real[label]).as_py() == pc.sum(unique[f"{column}_first"]).as_py()
    assert pc.sum(real["watch_time"]).as_py() == pytest.approx(
        pc.sum(unique["play_time_ms_first"]).as_py() / 1000
    )


def test_further_labels_are_made_of_the_logs_times(tmp_path: Path) -> None:
    times = [
        {"play_time_ms": 2_999, "duration_ms": 10_000, "comment_stay_time": 7},
        {"play_time_ms": 10_000, "duration_ms": 10_000},
        {"play_time_ms": 50_000, "duration_ms": 10_000},
        {"play_time_ms": 4_000, "duration_ms": 0},
    ]
    write_kuairand(tmp_path, [impression(1, 10, place, **row) for place, row in enumerate(times)])

    log = pa.Table.from_batches(KuaiRandSource(tmp_path).records(10))

    assert log["skip"].to_pylist() == [1, 0, 0, 0]
    assert log["finish"].to_pylist() == [0, 1, 1, None]
    assert log["watched_share"].to_pylist() == [pytest.approx(0.2999), 1.0, 2.0, None]
    assert log["comments_open"].to_pylist() == [1, 0, 0, 0]


def test_what_the_labels_are_made_of_is_no_column(real: pa.Table) -> None:
    for name in ("play_time_ms", "profile_stay_time", "comment_stay_time", "duration_ms"):
        assert name not in real.column_names


@pytest.mark.parametrize(
    ("key", "entities"), [("user_id", "users"), ("video_id", "videos"), ("query_video_id", "videos")]
)
def test_joined_columns_are_the_tables(
    real_source: KuaiRandSource, real: pa.Table, key: str, entities: str
) -> None:
    table = pa.Table.from_batches(getattr(real_source, entities)())
    records = {row.pop(table.column_names[0]): row for row in table.to_pylist()}
    prefix = "query_" if key == "query_video_id" else ""
    nothing = dict.fromkeys(table.column_names[1:])
    joined = real.slice(100_000, 500)

    found = joined.select([prefix + name for name in nothing]).rename_columns(list(nothing)).to_pylist()

    assert found == [records.get(id_, nothing) for id_ in joined[key].to_pylist()]


def test_every_user_and_video_comes_once(real_source: KuaiRandSource) -> None:
    users, videos = pa.Table.from_batches(real_source.users()), pa.Table.from_batches(real_source.videos())

    assert (users.num_rows, pc.count_distinct(users["user_id"]).as_py()) == (27_285, 27_285)
    assert (videos.num_rows, pc.count_distinct(videos["video_id"]).as_py()) == (7_583, 7_583)


def test_the_preset_fits_the_source(real_source: KuaiRandSource) -> None:
    spec = load_spec("kuairand")

    spec.check_schema(real_source.schema, where=real_source.name)
    assert set(spec.user_columns) <= set(next(real_source.users()).schema.names)
    assert set(spec.video_columns) <= set(next(real_source.videos()).schema.names)


def test_unknown_is_null(tmp_path: Path) -> None:
    known, unknown, strange = small(
        tmp_path, [impression(1, 10, 1), impression(2, 11, 2), impression(3, 99, 3)]
    ).to_pylist()

    assert (known["is_live_streamer"], known["onehot_feat4"], known["duration_s"]) == (1, 1, 87.433)
    assert (known["tags"], known["author_id"], known["upload_time_ms"]) == (
        ["39", "68"],
        7_349_781,
        (19_092 * 24 - 8) * 3_600_000,
    )
    for name in ("user_active_degree", "is_live_streamer", "onehot_feat4", "onehot_feat17"):
        assert unknown[name] is None
    for name in ("author_id", "music_id", "music_type", "video_type", "upload_type", "duration_s", "tags"):
        assert unknown[name] is None
    assert strange["register_days"] is strange["author_id"] is strange["tags"] is None


def test_a_click_of_the_same_time_is_no_query(tmp_path: Path) -> None:
    table = small(
        tmp_path,
        [
            impression(1, 10, 5, is_click=1),
            impression(1, 11, 5, is_click=1),
            impression(2, 12, 6),
            impression(1, 12, 6),
        ],
    )

    assert table["query_video_id"].to_pylist() == [None, None, None, 11]
    assert table["query_duration_s"].to_pylist() == [None] * 4
    assert table["position"].to_pylist() == [1, 2, 1, 3]


def test_a_gap_of_more_than_thirty_minutes_starts_a_session(tmp_path: Path) -> None:
    times = [0, 30 * MINUTE_MS, 60 * MINUTE_MS + 1, 61 * MINUTE_MS]

    assert small(tmp_path, [impression(1, 10, time) for time in times])["position"].to_pylist() == [
        1,
        2,
        1,
        2,
    ]
