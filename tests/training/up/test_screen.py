import io
import logging
from pathlib import Path

from rich.console import Console

from training.up.child import Child
from training.up.figures import Figures
from training.up.screen import Screen, line
from training.viewers.satisfaction import Satisfaction
from training.viewers.status import ViewerStatus

HEADS = [
    {"head": "click", "rows": 12_000, "positives": 2_000, "auc": 0.6731, "log_loss": 0.5, "calibration": 1.0},
    {"head": "rating", "rows": 300, "positives": None, "auc": None, "rmse": 1.02, "calibration": 1.0},
]
FIGURES = Figures(
    requests_per_s=20.04,
    events_per_s=90.0,
    behind_s=12.8,
    entries=2_674,
    rejected={"repeated": 53, "too late": 265},
    serving="simulated_live-20261127T134659Z-e090335c",
    published=2,
    heads=HEADS,
)
VIEWERS = ViewerStatus(0, shown=Satisfaction(4.2, 0.5, 1.8), random=Satisfaction(3.39, 0.2, 1.3))


def shown(console: Console, figures: Figures, viewers: ViewerStatus | None) -> str:
    child = Child("trainer", ["true"], Path("watchnext-up/trainer.log"))
    with Screen(console, "http://127.0.0.1:8000", [child]) as screen:
        logging.getLogger("anything").warning("the trainer ended (SIGKILL)")
        screen.update(figures, viewers)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_terminal_of_80_columns_shows_everything() -> None:
    said = shown(Console(file=io.StringIO(), width=80, force_terminal=True), FIGURES, VIEWERS)

    assert "…" not in said
    for part in (
        "20.0 a second",
        "318 events: repeated 53, too late 265",
        "12.8 s behind",
        "simulated_live-20261127T134659Z-e090335c",
        "4.20 stars (3.39 in random order)",
        "0.6731",
        "1.0200",
        "watchnext-up/trainer.log",
        "the trainer ended (SIGKILL)",
    ):
        assert part in said


def test_a_terminal_shows_a_loop_of_which_nothing_is_known_yet() -> None:
    said = shown(Console(file=io.StringIO(), width=80, force_terminal=True), Figures(), None)

    assert "nothing: the service does not answer" in said
    assert "nothing yet" in said


def test_a_pipe_gets_messages_at_once_and_a_line_now_and_then() -> None:
    said = shown(Console(file=io.StringIO(), width=80), FIGURES, VIEWERS)

    assert said.endswith("the trainer ended (SIGKILL)\n")
    assert line(FIGURES, VIEWERS) == (
        "20.0 rankings/s   90.0 events/s   trainer 12.8 s behind   2 published   "
        "serving simulated_live-20261127T134659Z-e090335c   AUC click 0.673   "
        "truly 4.20 stars (3.39 in random order)"
    )
