import io
import logging
import re
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ranker.metrics.intervals import auc_margin
from tests.ranker.small_spec import SMALL_SPEC, random_records
from training.progress import Span
from training.report import Report, calibration_text, metrics_table, number
from training.sources.merge import rebatch
from training.trainer import Trainer

BATCHES = list(rebatch([pa.Table.from_batches([random_records(640)])], 32))


def trained(batches: int) -> Trainer:
    trainer = Trainer(SMALL_SPEC, seed=0)
    for batch in BATCHES[:batches]:
        trainer.step(batch)
    return trainer


def silent() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def plotted(folder: Path, tag: str) -> list[tuple[int, float, float]]:
    """Step, wall time and value of every point that TensorBoard shows."""
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.wall_time, event.value) for event in events.Scalars(tag)]


def expected_points(trainer: Trainer, head: str, metric: str) -> list[tuple[int, float, float]]:
    rows = [row for row in trainer.metrics.rows().to_pylist() if row["head"] == head]
    return [
        (place, row["window_end_ms"] / 1000, pytest.approx(row[metric], rel=1e-6))
        for place, row in enumerate(rows)
        if row[metric] is not None
    ]


def test_tensorboard_shows_every_finished_window_once(tmp_path: Path) -> None:
    trainer = trained(0)
    with Report(tmp_path, trainer, silent(), live=False) as report:
        for batch in BATCHES:
            trainer.step(batch)
            report.write()

    assert len(expected_points(trainer, "click", "auc")) > 5
    assert plotted(tmp_path, "auc/click") == expected_points(trainer, "click", "auc")
    assert plotted(tmp_path, "rmse/watch_time") == expected_points(trainer, "watch_time", "rmse")


def test_windows_are_on_the_disk_before_the_run_ends(tmp_path: Path) -> None:
    trainer = trained(18)
    trainer.metrics, metrics = Trainer(SMALL_SPEC, seed=0).metrics, trainer.metrics
    report = Report(tmp_path, trainer, silent(), live=False)
    trainer.metrics = metrics

    report.write()  # and the process is killed here

    assert plotted(tmp_path, "auc/click") == expected_points(trainer, "click", "auc")


@pytest.mark.parametrize("checkpoint", [0, 7, 12])
def test_a_resumed_run_continues_tensorboards_curves_where_its_checkpoint_was(
    tmp_path: Path, checkpoint: int
) -> None:
    killed = trained(0)
    with Report(tmp_path, killed, silent(), live=False) as report:
        for batch in BATCHES[:15]:
            killed.step(batch)
            report.write()
    (events,) = tmp_path.glob("events.*")  # named by the second, and the other process starts in a later one
    events.rename(events.with_name(events.name.replace("tfevents.", "tfevents.0")))

    resumed = trained(checkpoint)
    with Report(tmp_path, resumed, silent(), live=False) as report:
        for batch in BATCHES[checkpoint:]:
            resumed.step(batch)
        report.write()

    assert plotted(tmp_path, "auc/click") == expected_points(resumed, "click", "auc")


def test_the_table_fits_into_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(trained(20)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    for word in ("click", "watch_time", "rating", "calibration", "positives", " s", " stars"):
        assert word in shown


def test_figures_of_few_rows_say_so() -> None:
    trainer = trained(20)
    console = Console(file=io.StringIO(), width=80)
    console.print(metrics_table(trainer))
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    newest = [r for r in trainer.metrics.rows(with_open=True).to_pylist() if r["head"] == "click"][-1]
    margin = auc_margin(newest["auc"], newest["positives"], newest["rows"] - newest["positives"])
    assert f"{newest['auc']:.4f} ±{margin:.3f}" in shown
    assert re.search(r"newest: \d+ rows from 20\d\d-\d\d-\d\d \d\d:\d\d UTC on, with a 95 % interval", shown)
    assert f"of {trainer.metrics.total()['rating']['rows']} rows" in shown


@pytest.mark.parametrize(
    ("calibration", "rows", "said"),
    [(0.06, 46, "0.06\nof 46 rows"), (0.06, 5_000, "0.06"), (None, 46, ""), (0.5, 0, "")],
)
def test_a_calibration_of_few_rows_says_of_how_many(calibration: float | None, rows: int, said: str) -> None:
    assert calibration_text(calibration, rows) == said


def test_in_a_pipe_the_log_says_how_far_the_run_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr("training.report.time.monotonic", lambda: now[0])
    trainer = trained(3)
    assert trainer.watermark_ms is not None
    end = trainer.watermark_ms
    with Report(tmp_path, trainer, silent(), live=True, span=lambda: Span(end - 50, end + 50)) as report:
        for now[0] in (1.0, 5.5, 6.0):
            report.update()
    [line] = caplog.messages
    assert re.fullmatch(r"event time 2023-11-14 \d\d:\d\d UTC   96 rows   0 rows/s   50 %", line)


def test_the_live_table_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    shown = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
        with Report(tmp_path, trained(3), console, live=True) as report:
            report.update()
        shown[terminal] = console.file.getvalue()  # type: ignore[attr-defined]
    assert "96 rows" in shown[True]
    assert "event time 2023-11-14" in shown[True]
    assert shown[False] == ""


@pytest.mark.parametrize(("value", "shown"), [(None, ""), (0.5, "0.5000")])
def test_a_figure_that_is_not_there_is_an_empty_cell(value: float | None, shown: str) -> None:
    assert number(value) == shown
