"""Quality on real impressions: one multitask network against boosted trees that read the same features.

    python -m load_tests.quality [--data DIR] [--spec SPEC] [--seeds 0 1 2] [--days 2022-05-02 ...] [--tune]

In one pass over KuaiRand-Pure, the model at the beginning of each day predicts the day with frozen and with
live features, then training goes on through the day. The network is compared with LightGBM; with the other
way of sharing between tasks and with a network per task, at equal multiplications; with itself without each
kind of feature; and with itself after two passes. None of them reads the columns of a table without a date,
which may tell what happened later; network and trees are compared once more with these columns. The results
are written to quality.json, .md and two pictures in the output folder. QUICK=1: one day, one seed, and no
files unless --out is given.

--tune chooses the settings of the trees on 29 April to 1 May instead, and writes quality_tuning.json.
"""

import argparse
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from load_tests.judging.comparison import calibrations, compare
from load_tests.judging.contenders import OURS, SINGLE, TREES, BySeed, Contest, worker_log, workers
from load_tests.judging.log import Day, Log, Truth
from load_tests.judging.plots import draw
from load_tests.judging.report import markdown
from load_tests.judging.trees import library, settings_of
from load_tests.judging.tuning import tune
from load_tests.judging.variants import KINDS, multiplications, without_columns
from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from ranker.features.sides import Side
from ranker.files.whole import write_whole
from ranker.spec_file import load_spec
from training.sources.registry import open_source

DAYS = ("2022-05-02", "2022-05-03", "2022-05-04")
TUNING_DAYS = ("2022-04-29", "2022-04-30", "2022-05-01")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run everything and write the results."""
    quick = os.environ.get("QUICK") == "1"
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, default=BESIDE, help="folder of KuaiRand-Pure")
    arguments.add_argument("--spec", default="kuairand", help="a preset or a .yaml file")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0] if quick else [0, 1, 2])
    arguments.add_argument("--days", nargs="+", default=DAYS[:1] if quick else DAYS)
    arguments.add_argument("--replicates", type=int, default=200 if quick else 1000)
    arguments.add_argument("--tune", action="store_true", help="choose the settings of the trees instead")
    arguments.add_argument("--out", type=Path, default=None if quick else RESULTS, help="where results go")
    given = arguments.parse_args()
    demand(given.data)
    library()  # fail now and not after hours
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
    spec = load_spec(given.spec)
    days = tuple(sorted((Day.parse(text) for text in given.days), key=lambda day: day.since_ms))
    columns = [name for table in open_source(str(given.data)).side_tables for name in table.columns]
    dated = without_columns(spec, columns)
    if given.tune:
        tuned = tune(dated, str(given.data), [Day.parse(text) for text in TUNING_DAYS], _show)
        if given.out is not None:
            write_whole(given.out / "quality_tuning.json", (json.dumps(tuned, indent=2) + "\n").encode())
        return
    contest = Contest(dated, spec, str(given.data), days, tuple(given.seeds))
    report = judge(contest, given.replicates)
    print("\n" + markdown(report))
    if given.out is not None:
        write_whole(given.out / "quality.json", (json.dumps(report, indent=2) + "\n").encode())
        write_whole(given.out / "quality.md", markdown(report).encode())
        draw(report, given.out)


def judge(contest: Contest, replicates: int) -> dict[str, Any]:
    """Run a contest and return the comparison as a JSON object."""
    begun = perf_counter()
    source = open_source(contest.data)
    log = Log(source)
    found = contest.run(_show)
    with workers(contest.data) as pool:
        heads = {
            contest.spec.tasks[index].name: pool.submit(
                _compare, contest, index, _of(found, index), replicates
            )
            for index in contest.binary
        }
        reports = {name: head.result() for name, head in heads.items()}
    truth = Truth.of(log, contest.spec, contest.days)
    single = sum(multiplications(spec) for spec in contest.single_tasks.values())
    share = len(contest.single_tasks) / len(contest.spec.tasks)
    return {
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": machine(),
        "minutes": (perf_counter() - begun) / 60,
        "source": "KuaiRand-Pure",
        "rows": log.records.num_rows,
        "spec": contest.spec.name,
        "undated columns": sorted(
            {f.source_column for f in contest.undated.side(*Side)}
            - {f.source_column for f in contest.spec.side(*Side)}
        ),
        "kind": contest.spec.network.kind,
        "days": [str(day) for day in contest.days],
        "seeds": list(contest.seeds),
        "replicates": replicates,
        "trees": {name: str(settings_of(name)) for name in reports},
        "multiplications": {
            OURS: multiplications(contest.spec),
            contest.other_kind: multiplications(contest.networks[contest.other_kind]),
            SINGLE: round(single / share),  # a network for each task, those without an AUC as well
        },
        "ablation": [name for name in contest.networks if name.startswith("without ")],
        "absent": [what for what in KINDS if f"without {what}" not in contest.networks],
        "heads": reports,
        "calibration": {
            task.name: calibrations(truth, index, _of(_with_head(found, index, contest), index))
            for index, task in enumerate(contest.spec.tasks)
        },
    }


def _of(found: Mapping[str, BySeed], index: int) -> dict[str, BySeed]:
    """Select one task's predictions, (S, N), of every contender."""
    return {name: {mode: p[:, :, index] for mode, p in modes.items()} for name, modes in found.items()}


def _with_head(found: Mapping[str, BySeed], index: int, contest: Contest) -> dict[str, BySeed]:
    """Select our predictions and, for a binary head, those of the trees."""
    names = (OURS, TREES) if index in contest.binary else (OURS,)
    return {name: found[name] for name in names}


def _compare(contest: Contest, index: int, found: Mapping[str, BySeed], replicates: int) -> dict[str, Any]:
    truth = Truth.of(worker_log(), contest.spec, contest.days)
    return compare(contest.days, truth, index, found, replicates)


def _show(what: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


if __name__ == "__main__":
    main()
