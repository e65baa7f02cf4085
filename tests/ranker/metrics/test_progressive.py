import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ranker.errors import CheckpointError
from ranker.metrics.binary_sums import BinarySums
from ranker.metrics.exact import auc
from ranker.metrics.progressive import MAX_WINDOWS, ProgressiveMetrics
from ranker.metrics.regression_sums import RegressionSums
from ranker.metrics.streaming import MetricSums

KINDS: dict[str, type[MetricSums]] = {"click": BinarySums, "watch_time": RegressionSums}
HOUR_MS = 3_600_000
Stream = tuple[np.ndarray, np.ndarray, np.ndarray]


def stream(rows: int, seed: int, start_ms: int = 5 * HOUR_MS + 17, step_ms: int = 20_000) -> Stream:
    """Times, predictions and labels over a few hours."""
    random = np.random.default_rng(seed)
    p = random.random((rows, 2))
    labels = np.stack([random.random(rows) < p[:, 0], random.exponential(size=rows)], axis=1).astype(float)
    labels[random.random((rows, 2)) < 0.1] = np.nan
    return start_ms + step_ms * np.arange(rows), p, labels


def fed(rows: Stream, batch: int, metrics: ProgressiveMetrics | None = None) -> ProgressiveMetrics:
    metrics = metrics or ProgressiveMetrics(KINDS, HOUR_MS)
    for first in range(0, len(rows[0]), batch):
        metrics.update(*(column[first : first + batch] for column in rows))
    return metrics


def test_a_row_a_window_and_head_whatever_the_batches() -> None:
    time_ms, p, labels = rows = stream(700, seed=1)
    table = fed(rows, batch=64).rows(with_open=True)

    assert table.schema.names == [
        "window_start_ms",
        "window_end_ms",
        "head",
        "rows",
        "positives",
        "auc",
        "log_loss",
        "calibration",
        "rmse",
    ]
    assert table["head"].to_pylist() == ["click", "watch_time"] * 4
    starts = table["window_start_ms"].to_pylist()[::2]
    assert starts == [5 * HOUR_MS, 6 * HOUR_MS, 7 * HOUR_MS, 8 * HOUR_MS]
    for start, row in zip(starts, table.to_pylist()[::2], strict=True):
        present = (time_ms // HOUR_MS * HOUR_MS == start) & ~np.isnan(labels[:, 0])
        assert row["window_end_ms"] == start + HOUR_MS
        assert (row["rows"], row["positives"]) == (present.sum(), labels[present, 0].sum())
        assert row["auc"] == pytest.approx(auc(labels[present, 0], p[present, 0]), abs=2e-3)
        assert row["rmse"] is None

    whole = fed(rows, batch=700).rows(with_open=True)
    for name in ("log_loss", "rmse", "calibration"):
        np.testing.assert_allclose(table[name].to_numpy(), whole[name].to_numpy(), rtol=1e-12, err_msg=name)


def test_the_open_window_is_shown_on_demand_only() -> None:
    metrics = fed(stream(100, seed=1), batch=10)

    assert metrics.rows().num_rows == 0
    assert metrics.rows(with_open=True).num_rows == 2
    assert ProgressiveMetrics(KINDS, HOUR_MS).rows(with_open=True).num_rows == 0


def test_a_window_without_rows_leaves_no_trace() -> None:
    metrics = fed(stream(10, seed=1, start_ms=0), batch=10)
    fed(stream(10, seed=2, start_ms=9 * HOUR_MS), batch=10, metrics=metrics)

    assert metrics.rows(with_open=True)["window_start_ms"].to_pylist() == [0, 0, 9 * HOUR_MS, 9 * HOUR_MS]


def test_a_late_row_counts_in_the_open_window() -> None:
    metrics = fed(stream(10, seed=1, start_ms=3 * HOUR_MS), batch=10)
    metrics.update(np.array([0]), np.array([[0.5, 1.0]]), np.array([[1.0, 1.0]]))

    table = metrics.rows(with_open=True)
    assert pc.unique(table["window_start_ms"]).to_pylist() == [3 * HOUR_MS]
    _, _, labels = stream(10, seed=1)
    assert table["rows"].to_pylist() == (1 + np.count_nonzero(~np.isnan(labels), axis=0)).tolist()


def test_a_window_of_one_class_has_no_auc_but_its_counts() -> None:
    metrics = ProgressiveMetrics({"click": BinarySums}, HOUR_MS)
    metrics.update(np.array([0, 1]), np.array([[0.2], [0.4]]), np.zeros((2, 1)))

    (row,) = metrics.rows(with_open=True).to_pylist()
    assert (row["rows"], row["positives"], row["auc"], row["calibration"]) == (2, 0, None, None)
    assert row["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.6)) / 2)


def test_the_total_is_over_all_windows() -> None:
    _, p, labels = rows = stream(700, seed=1)
    total = fed(rows, batch=64).total()

    present = ~np.isnan(labels[:, 0])
    assert list(total) == ["click", "watch_time"]
    assert total["click"]["rows"] == present.sum()
    assert total["click"]["auc"] == pytest.approx(auc(labels[present, 0], p[present, 0]), abs=1e-3)
    assert total["click"]["rmse"] is None
    assert total["watch_time"]["log_loss"] is None


@pytest.mark.parametrize("cut", [0, 50, 400])
def test_going_on_from_a_state_is_bit_identical(cut: int) -> None:
    rows = stream(700, seed=1)
    first, rest = tuple(c[:cut] for c in rows), tuple(c[cut:] for c in rows)
    stopped = fed(first, batch=50)
    saved = {name: array.copy() for name, array in stopped.state_dict().items()}
    fed(rest, batch=50, metrics=stopped)  # a state is a copy: going on must not change it
    resumed = ProgressiveMetrics(KINDS, HOUR_MS)
    resumed.load_state_dict(saved)
    fed(rest, batch=50, metrics=resumed)

    straight = fed(rows, batch=50)
    assert resumed.rows(with_open=True).equals(straight.rows(with_open=True))
    assert resumed.total() == straight.total()
    expected = straight.state_dict()
    for name, array in resumed.state_dict().items():
        assert array.tobytes() == expected[name].tobytes(), name
        assert array.dtype == expected[name].dtype


def test_undefined_metrics_survive_a_state() -> None:
    metrics = ProgressiveMetrics(KINDS, HOUR_MS)
    for hour in (0, 1):
        metrics.update(np.array([hour * HOUR_MS]), np.array([[0.5, 1.0]]), np.array([[1.0, np.nan]]))
    other = ProgressiveMetrics(KINDS, HOUR_MS)
    other.load_state_dict(metrics.state_dict())

    assert other.rows().equals(metrics.rows())
    assert other.rows().num_rows == 2


def test_a_state_without_windows_is_refused() -> None:
    state = ProgressiveMetrics(KINDS, HOUR_MS).state_dict()
    del state["windows"]

    with pytest.raises(CheckpointError, match="expected 'windows'"):
        ProgressiveMetrics(KINDS, HOUR_MS).load_state_dict(state)


def test_the_rows_are_ready_for_parquet() -> None:
    table = fed(stream(400, seed=1), batch=50).rows()

    assert isinstance(table, pa.Table)
    assert not any(np.isnan(v) for v in table["auc"].drop_null().to_pylist())


def test_a_run_without_an_end_keeps_the_last_windows_and_the_total_of_all() -> None:
    metrics = ProgressiveMetrics({"click": BinarySums}, window_ms=1)
    count = MAX_WINDOWS + 7
    metrics.update(np.arange(count + 1), np.full((count + 1, 1), 0.5), np.ones((count + 1, 1)))

    assert metrics.closed == count
    assert metrics.rows()["window_start_ms"].to_pylist() == list(range(7, count))
    assert metrics.rows(since=count - 2)["window_start_ms"].to_pylist() == [count - 2, count - 1]
    assert metrics.total()["click"]["rows"] == count + 1
    assert metrics.state_dict()["results"].shape[0] == MAX_WINDOWS

    resumed = ProgressiveMetrics({"click": BinarySums}, window_ms=1)
    resumed.load_state_dict(metrics.state_dict())
    for each in (metrics, resumed):
        each.update(np.array([count + 1]), np.array([[0.5]]), np.array([[0.0]]))
    assert resumed.rows(since=count).equals(metrics.rows(since=count))
    assert resumed.rows().num_rows == MAX_WINDOWS
