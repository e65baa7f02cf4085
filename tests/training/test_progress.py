"""How far a pass has come: on a terminal, and in a log that somebody watches."""

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from tests.training.record_source import RecordSource
from tests.training.sources.kuairand import small_kuairand
from training import progress as module
from training.progress import Pace, Progress, Span, duration, event_span
from training.sources.kuairand.source import KuaiRandSource
from training.sources.parquet import ParquetSource
from training.sources.simulated.population import WorldConfig
from training.sources.simulated.source import SimulatedSource
from training.sources.simulated.write import write_simulation

WORLD = WorldConfig(viewers=60, authors=10, uploads_per_day=30, catalogue_days=2, requests_per_day=300)


def test_the_share_and_the_rest_follow_from_event_time() -> None:
    pace = Pace(lambda: Span(1_000, 2_000), now=100.0)
    assert pace.remaining(None, 100.0) == ""
    assert pace.remaining(1_000, 100.0) == "0 %"
    assert pace.remaining(1_250, 110.0) == "25 %, 0:30 left"
    assert pace.remaining(2_000, 140.0) == "100 %, 0:00 left"


def test_a_resumed_run_does_not_count_what_was_done_before() -> None:
    pace = Pace(lambda: Span(0, 100), now=0.0)
    pace.remaining(50, 1.0)
    assert pace.remaining(75, 11.0) == "75 %, 0:10 left"


@pytest.mark.parametrize("span", [None, Span(5, 5)])
def test_without_an_end_that_is_known_nothing_is_said(span: Span | None) -> None:
    assert Pace(lambda: span, now=0.0).remaining(5, 1.0) == ""


@pytest.mark.parametrize(("seconds", "said"), [(5, "0:05"), (65, "1:05"), (7_265, "2:01:05")])
def test_durations_are_read_as_on_a_clock(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_in_a_pipe_a_line_is_logged_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO())
    with Progress(console, "rows", lambda: Span(0, 100)) as progress:
        for second in range(12):
            now[0] = float(second)
            progress.update(1_000 * second, 5 * second)
    assert caplog.messages == [
        "5,000 rows   1,000 a second   25 %",
        "10,000 rows   1,000 a second   50 %, 0:10 left",
    ]
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]


def test_on_a_terminal_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with Progress(console, "users") as progress:
        now[0] = 60.0
        progress.update(1_200)
    assert "1,200 users" in console.file.getvalue()  # type: ignore[attr-defined]
    assert caplog.messages == []


def test_sources_know_their_times(tmp_path: Path) -> None:
    world = SimulatedSource(days=1, seed=1, config=WORLD)
    write_simulation(tmp_path / "log", days=1, seed=1, config=WORLD)
    written = ParquetSource(str(tmp_path / "log"))
    times = [time for batch in world.records(4096) for time in batch.column("time_ms").to_pylist()]
    assert written.time_range() == (times[0], times[-1])
    first_ms, last_ms = world.time_range()
    assert first_ms <= times[0] <= times[-1] <= last_ms
    assert event_span(written, times[0] + 5, times[-1] + 5) == Span(times[0] + 5, times[-1])
    assert event_span(written, None, times[0] + 9) == Span(times[0], times[0] + 9)
    assert event_span(RecordSource(next(world.records(10))), None, None) is None


def test_kuairand_knows_its_times_once_it_is_sorted(tmp_path: Path) -> None:
    small_kuairand.write_kuairand(
        tmp_path, [small_kuairand.impression(1, 10, 1_650_000_000_000 + 60_000 * n) for n in (4, 0, 2)]
    )
    source = KuaiRandSource(tmp_path)
    assert source.time_range() is None
    times = [time for batch in source.records(4096) for time in batch.column("time_ms").to_pylist()]
    assert len(times) == 3
    assert source.time_range() == (times[0], times[-1])
