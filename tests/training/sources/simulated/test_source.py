import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ranker.errors import SourceError
from ranker.events import QUERY_PREFIX, QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.sides import Side
from ranker.spec_file import load_spec
from training.sources.simulated.population import DAY_MS, EPOCH_MS, HOUR_MS, WorldConfig
from training.sources.simulated.source import TRUTH_PREFIX, SimulatedSource

CONFIG = WorldConfig(viewers=200, authors=30, uploads_per_day=40, catalogue_days=3, requests_per_day=500)
DAY_ROWS = 5_000


@pytest.fixture(scope="module")
def source() -> SimulatedSource:
    return SimulatedSource(days=3, seed=5, config=CONFIG)


@pytest.fixture(scope="module")
def log(source: SimulatedSource) -> pa.Table:
    return read(source)


def read(source: SimulatedSource, rows: int = 700, **bounds: int) -> pa.Table:
    return pa.Table.from_batches(source.records(rows, **bounds), schema=source.schema)


def test_the_same_seed_gives_the_same_log_and_another_one_another(log: pa.Table) -> None:
    assert read(SimulatedSource(days=3, seed=5, config=CONFIG)).equals(log)
    assert not read(SimulatedSource(days=3, seed=6, config=CONFIG)).equals(log)


def test_a_longer_log_begins_with_the_shorter_one(log: pa.Table) -> None:
    assert read(SimulatedSource(days=1, seed=5, config=CONFIG)).equals(log.slice(0, DAY_ROWS))


@pytest.mark.parametrize("rows", [1, 64, 700, 4096, 100_000])
def test_all_batches_but_the_last_have_the_size_asked_for(source: SimulatedSource, rows: int) -> None:
    sizes = [batch.num_rows for batch in source.records(rows, until_ms=EPOCH_MS + DAY_MS)]

    assert sum(sizes) == DAY_ROWS
    assert set(sizes[:-1]) <= {rows}
    assert 0 < sizes[-1] <= rows


@pytest.mark.parametrize(
    ("since_ms", "until_ms"),
    [
        (EPOCH_MS + DAY_MS, EPOCH_MS + 2 * DAY_MS),
        (EPOCH_MS + 20 * HOUR_MS + 1234, EPOCH_MS + 20 * HOUR_MS + 99_999),
        (EPOCH_MS + 5 * HOUR_MS + 1, None),
        (None, EPOCH_MS + DAY_MS + 7_654_321),
        (EPOCH_MS - DAY_MS, EPOCH_MS + 9 * DAY_MS),
        (EPOCH_MS + 9 * DAY_MS, None),
        (None, EPOCH_MS),
        (EPOCH_MS + 2 * HOUR_MS, EPOCH_MS + HOUR_MS),
    ],
)
@pytest.mark.parametrize("taken", [0, 3, 1_203, 50_000])
def test_bounds_come_first_and_then_rows_that_were_taken(
    source: SimulatedSource, log: pa.Table, since_ms: int | None, until_ms: int | None, taken: int
) -> None:
    time_ms = log[TIME_MS].to_numpy()
    inside = np.ones(len(time_ms), bool)
    inside &= True if since_ms is None else time_ms >= since_ms
    inside &= True if until_ms is None else time_ms < until_ms
    first = next(source.batches(taken, since_ms=since_ms, until_ms=until_ms), None) if taken else None
    offset = None if first is None else first.offset

    found = source.batches(700, since_ms=since_ms, until_ms=until_ms, resume_from=offset)

    left = pa.Table.from_batches((batch.records for batch in found), schema=source.schema)
    assert left.equals(log.filter(inside).slice(taken))


def test_an_impression_s_exact_time_is_inside_as_since_and_outside_as_until(
    source: SimulatedSource, log: pa.Table
) -> None:
    time_ms = log[TIME_MS][2_000].as_py()

    before, after = read(source, until_ms=time_ms), read(source, since_ms=time_ms)

    assert before.num_rows + after.num_rows == log.num_rows
    assert after[TIME_MS][0].as_py() == time_ms


def test_rows_are_in_time_order_and_pages_in_the_order_of_position(log: pa.Table) -> None:
    assert np.all(np.diff(log[TIME_MS].to_numpy()) >= 0)
    np.testing.assert_array_equal(log["request_id"].to_numpy(), np.repeat(np.arange(1_500), 10))
    np.testing.assert_array_equal(log["position"].to_numpy(), np.tile(np.arange(1, 11), 1_500))
    np.testing.assert_array_equal(log["hour"].to_numpy(), log[TIME_MS].to_numpy() // HOUR_MS % 24)


def test_uploads_come_daily_and_are_shown_from_then_on(source: SimulatedSource, log: pa.Table) -> None:
    videos = pa.Table.from_batches(source.videos())

    np.testing.assert_array_equal(videos["upload_day"].to_numpy(), np.repeat(np.arange(-3, 3), 40))
    assert pc.all(pc.less_equal(log["upload_time_ms"], log[TIME_MS])).as_py()
    on = log.filter(pc.is_valid(log[QUERY_VIDEO_ID]))
    assert pc.all(pc.less_equal(on["query_upload_time_ms"], on[TIME_MS])).as_py()
    last_day = log.slice(2 * DAY_ROWS)
    assert set(last_day["upload_day"].to_pylist()) == set(range(-3, 3))


@pytest.mark.parametrize(("key", "prefix"), [(USER_ID, ""), (VIDEO_ID, ""), (QUERY_VIDEO_ID, QUERY_PREFIX)])
def test_logged_features_are_those_of_the_tables(
    source: SimulatedSource, log: pa.Table, key: str, prefix: str
) -> None:
    table = pa.Table.from_batches(source.users() if key == USER_ID else source.videos())

    stored = {row[table.column_names[0]]: row for row in table.to_pylist()}
    nothing = dict.fromkeys(table.column_names)

    assert len(stored) == table.num_rows
    names = table.column_names[1:]
    for row in log.slice(4_000, 300).to_pylist():
        expected = stored[row[key]] if row[key] is not None else nothing
        assert {name: row[prefix + name] for name in names} == {name: expected[name] for name in names}


def test_profiles_queries_and_ratings_are_missing_at_times(log: pa.Table) -> None:
    for name in ("age_group", "country", QUERY_VIDEO_ID, "query_topics", "rating"):
        assert 0 < log[name].null_count < log.num_rows
    for name in ("click", "watch_time", "like", "dismiss", "topics", "true_rating"):
        assert log[name].null_count == 0
    rated = log.filter(pc.is_valid(log["rating"]))
    assert set(rated["rating"].to_pylist()) <= {1, 2, 3, 4, 5}
    assert set(rated["click"].to_pylist()) == {1}
    np.testing.assert_array_equal(log["watch_time"].to_numpy() > 0, log["click"].to_numpy() == 1)


def test_the_examination_curve_is_that_of_the_log(source: SimulatedSource, log: pa.Table) -> None:
    curve = source.examination_curve()
    assert curve.num_rows == 40

    joined = log.select(["position", "device", "true_examination"]).join(curve, ["position", "device"])

    np.testing.assert_allclose(
        joined["true_examination"].to_numpy(), joined["examination"].to_numpy(), rtol=1e-6
    )
    product = log["true_examination"].to_numpy() * log["true_relevance"].to_numpy()
    np.testing.assert_allclose(log["true_click"].to_numpy(), product, rtol=1e-5)


def test_the_preset_fits_the_log_and_keeps_the_truth_out(source: SimulatedSource) -> None:
    spec = load_spec("simulated")

    spec.check_schema(source.schema, where=source.name)

    assert not any(feature.source_column.startswith(TRUTH_PREFIX) for feature in spec.features)
    assert {feature.source_column for feature in spec.side(Side.BIAS)} == {"position", "device"}
    assert set(spec.user_columns) <= set(next(source.users()).schema.names)
    assert set(spec.video_columns) <= set(next(source.videos()).schema.names)
    assert {task.group for task in spec.tasks} == {"engagement", "satisfaction"}
    assert {term.head for term in spec.score.terms if term.weight < 0} == {"dismiss"}


@pytest.mark.parametrize(("days", "seed"), [(0, 0), (1, -1)])
def test_no_days_and_negative_seeds_are_refused(days: int, seed: int) -> None:
    with pytest.raises(SourceError, match=f"{days} days, seed {seed}: expected at least 1 day and a seed"):
        SimulatedSource(days=days, seed=seed, config=CONFIG)
