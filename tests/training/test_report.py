import io
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.ranker.small_spec import SMALL_SPEC, random_records
from training.report import Report, metrics_table, number
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
    for word in ("click", "watch_time", "rating", "calibration", "positives", " s ", " stars "):
        assert word in shown


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
