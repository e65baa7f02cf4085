from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from load_tests.judging.comparison import calibrations, compare
from load_tests.judging.contenders import OURS, SECOND, SINGLE, TREES, UNDATED, Contest
from load_tests.judging.log import Truth
from load_tests.judging.one_pass import FROZEN, LEARNING, LIVE
from load_tests.judging.plots import draw
from load_tests.judging.report import difference, markdown
from load_tests.judging.variants import without_columns
from tests.load_tests.judging.judged_log import DAYS, SPEC, small_log

RANDOM = np.random.default_rng(0)
CONTEST = Contest(without_columns(SPEC, ["age"]), SPEC, "no folder", DAYS, (0, 1))
READ = Truth.of(small_log(), SPEC, DAYS)
ROWS = len(READ.labels)
TRUTH = replace(READ, viewers=np.arange(ROWS) % 50)  # enough of them for intervals


def guess(place: int, seeds: int, modes: tuple[str, ...], strength: float = 0.0) -> dict[str, np.ndarray]:
    label = np.nan_to_num(TRUTH.labels[:, place])
    return {mode: np.clip(RANDOM.random((seeds, ROWS)) + strength * label, 0, 1) for mode in modes}


def found(place: int) -> dict[str, dict[str, np.ndarray]]:
    every = (FROZEN, LIVE, LEARNING)
    others = ("shared_bottom", SINGLE, "without rates", "without ids")
    return {
        OURS: guess(place, 2, every, strength=0.4),
        TREES: guess(place, 1, (FROZEN, LIVE)),
        OURS + UNDATED: guess(place, 2, every, strength=0.8),
        TREES + UNDATED: guess(place, 1, (FROZEN, LIVE), strength=0.8),
        SECOND: guess(place, 2, (FROZEN, LIVE)),
        **{name: guess(place, 2, every) for name in others},
    }


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return {
        "machine": {"cpu": "a processor", "cores": 2},
        "minutes": 1.0,
        "source": "a log",
        "rows": ROWS,
        "spec": "judged",
        "undated columns": ["age"],
        "kind": "mmoe",
        "days": [str(day) for day in DAYS],
        "seeds": [0, 1],
        "replicates": 30,
        "trees": {"click": "few trees", "like": "many trees"},
        "multiplications": {OURS: 100, "shared_bottom": 99, SINGLE: 98},
        "ablation": ["without rates", "without ids"],
        "absent": ["bins"],
        "heads": {
            SPEC.tasks[place].name: compare(DAYS, TRUTH, place, found(place), 30) for place in CONTEST.binary
        },
        "calibration": {
            task.name: calibrations(
                TRUTH,
                place,
                {name: found(place)[name] for name in ((OURS, TREES) if task.kind == "binary" else (OURS,))},
            )
            for place, task in enumerate(SPEC.tasks)
        },
    }


def test_binary_heads_alone_have_an_auc(report: dict[str, Any]) -> None:
    assert list(report["heads"]) == ["click", "like"]


def test_calibration_is_the_mean_prediction_over_the_mean_label_of_labelled_rows() -> None:
    predictions = found(0)
    label = TRUTH.labels[:, 0]
    known = ~np.isnan(label)
    expected = predictions[OURS][LIVE][:, known].mean() / label[known].mean()

    judged = compare(DAYS, TRUTH, 0, predictions, 2)
    calibrated = calibrations(TRUTH, 0, {OURS: predictions[OURS]})
    assert calibrated[OURS][LIVE] == pytest.approx(expected, rel=1e-6)
    assert calibrated["positives"] == np.nansum(label)
    assert judged["positives"].keys() == {"2022-05-02", "2022-05-03", "2022-05-04"}
    assert sum(judged["positives"].values()) == np.nansum(label)


def test_learning_on_is_compared_with_trees_of_live_features() -> None:
    predictions = found(0)
    predictions[OURS][LEARNING] = np.repeat(predictions[TREES][LIVE], 2, axis=0)

    against = compare(DAYS, TRUTH, 0, predictions, 5)["against trees"]
    assert against[LEARNING]["all"]["gain"] == 0
    assert against[LIVE]["all"]["gain"] > 0


def test_the_page_says_what_was_found_and_marks_what_is_apart_from_zero(report: dict[str, Any]) -> None:
    page = markdown(report)

    gain = report["heads"]["click"]["against trees"][LIVE]["all"]
    low, high = gain["interval"]
    assert low > 0
    shown = f"{gain['ours']:.4f} | {gain['theirs']:.4f} | **{gain['gain']:+.4f} [{low:+.4f}, {high:+.4f}]**"
    assert shown in page
    assert "| like | 2022-05-03 |" in page
    few = {"gain": 0.0123, "interval": None, "no_interval": "9 positives of at least 10"}
    assert difference(few) == "+0.0123 (no interval: 9 positives of at least 10)"
    assert "click: few trees" in page
    assert "The spec has no bins." in page
    calibration = page.split("## Calibration")[1]
    assert "| like |" not in calibration  # fewer than 500 positives
    positives = report["calibration"]["watch_time"]["positives"]
    assert positives >= 500
    assert f"| watch_time | {positives:,} | " in calibration


def test_columns_of_an_undated_table_are_read_by_contenders_of_their_own() -> None:
    undated = {name: spec for name, spec in CONTEST.networks.items() if name.endswith(UNDATED)}

    assert undated == {OURS + UNDATED: SPEC}
    assert CONTEST.trees == {TREES: CONTEST.spec, TREES + UNDATED: SPEC}
    assert "age" not in {feature.name for feature in CONTEST.spec.features}
    dated = Contest(SPEC, SPEC, "no folder", DAYS, (0,))
    assert dated.trees == {TREES: SPEC}
    assert OURS + UNDATED not in dated.networks


def test_the_page_shows_what_undated_columns_bring(report: dict[str, Any]) -> None:
    gains = report["heads"]["click"]["with undated columns"][LIVE]
    assert gains[OURS]["gain"] > 0
    assert gains[TREES]["gain"] > 0.1
    assert gains["against trees"]["ours"] == gains[OURS]["ours"]
    assert gains["against trees"]["theirs"] == gains[TREES]["ours"]

    shown = markdown(report).split("## With undated columns")[1].split("##")[0]
    assert "\nage are from a table without a date" in shown
    assert f"| {gains[OURS]['ours']:.4f} | **{gains[OURS]['gain']:+.4f}" in shown
    none = markdown(report | {"undated columns": []})
    assert "undated" not in none


def test_pictures_are_drawn(report: dict[str, Any], tmp_path: Path) -> None:
    gains = report["heads"]["like"]["against trees"][LIVE]
    without = {**gains["all"], "interval": None, "no_interval": "9 positives of at least 10"}
    report["heads"]["like"]["against trees"][LIVE] = {**gains, "all": without}
    draw(report, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"quality_gains.png", "quality_ablation.png"}
