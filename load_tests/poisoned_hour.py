"""What poison beside the traffic does to rankings, rates and weights.

`python -m load_tests.poisoned_hour [--hour 60]` lets three loops begin with the same bundle, each with a
Redis, a service over HTTP and a trainer that follows, and gives all three the same visits of the simulated
world at the same moments. Into one of them, in the middle third of the time, comes beside it: requests with
NaN, infinities and wrong types, values of 1e30, a clock that is a year fast, one viewer with 20,000 events,
and a bot that likes everything. The third is a second undisturbed one: how far it is from the first is what
chance does.

A day of this world takes a minute, so an hour of its viewers would take seconds: the poisoned stretch is a
minute here, longer than an hour for its world, and one viewer's events are 20,000 and not a million.

The results are written to poisoned_hour.json in the output folder; the exit status is 1 if a bound is
exceeded. QUICK=1 takes under two minutes and writes nothing unless --out is given.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from load_tests.machine import machine
from load_tests.poisoning.arm import SPEC, Arm, running
from load_tests.poisoning.damage import losses, predictions, rates, relative
from load_tests.poisoning.pages import Page, Seen, pages, show
from load_tests.poisoning.poison import Poison
from ranker.files.whole import write_whole
from ranker.spec_file import load_spec
from ranker.stream.redis_event_log import RedisEventLog
from ranker.stream.rejected import rejected_counts
from training.api import train
from training.sources.simulated.world_file import LIVE_CONFIG, LIVE_SPEED, WorldFile
from training.sources.simulated.write import write_simulation

RESULTS: Final = Path(__file__).parent / "results"
CALM, AGAIN, POISONED = "undisturbed", "undisturbed again", "poisoned"
BOUNDS: Final = {
    "failed requests": 0.0,
    "answers of 5xx to poison": 0.0,
    "mean prediction, share": 0.10,
    "rates of other videos and viewers, mean difference": 0.01,
    "progressive loss, share": 0.02,
}
"""The most by which the poisoned loop may differ from the undisturbed one."""


@dataclass(frozen=True)
class Scale:
    """How much comes.

    Attributes:
        days: Of the log at rest.
        rate: Pages a second.
        hour_s: How long the poison comes; as long before it, and after it.
        flood: Events of the viewer with the most.
        bot_rate: Pages a second that the bot asks for.
        held_out: Requests on which predictions are compared.
        targets: Videos that poison is about.
        twice: Whether there is a second undisturbed loop.
    """

    days: int = 8
    rate: float = 10.0
    hour_s: float = 60.0
    flood: int = 20_000
    bot_rate: float = 0.5
    held_out: int = 300
    targets: int = 10
    twice: bool = True


QUICK: Final = Scale(days=2, hour_s=12.0, held_out=100, twice=False)
SETTLE_S: Final = 12.0
"""Until what was shown last is learned: its labels' wait, and the interval at which is learned."""


def run(folder: Path, scale: Scale) -> dict[str, Any]:
    """Run all loops, and compare them."""
    log, learned = folder / "log", folder / "learned"
    write_simulation(log, scale.days, 0, LIVE_CONFIG, speed=LIVE_SPEED)
    train(SPEC, log, learned)
    _say("the log at rest is learned")
    world = WorldFile.read(log)
    with ExitStack() as stack:
        names = (CALM, POISONED, AGAIN) if scale.twice else (CALM, POISONED)
        arms = {
            name: stack.enter_context(running(folder / name.replace(" ", "-"), log, learned))
            for name in names
        }
        _say("the loops run")
        seen, poison = _traffic(arms, world, scale)
        _say("all pages were shown")
        time.sleep(SETTLE_S)
        memory = {name: arm.memory_mb() for name, arm in arms.items()}
        with ThreadPoolExecutor(len(arms)) as pool:
            list(pool.map(Arm.end_training, arms.values()))
        _say("the trainers have ended")
        return _compared(arms, world, scale, seen, poison) | {
            "memory_mb": memory,
            "log_entries": {name: RedisEventLog(arm.client).extent().entries for name, arm in arms.items()},
        }


def _say(what: str) -> None:
    print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)


def _traffic(arms: dict[str, Arm], world: WorldFile, scale: Scale) -> tuple[dict[str, list[Seen]], Poison]:
    """Send the same pages to all at the same moments, with poison beside one in the middle third."""
    tasks = [task.name for task in load_spec(SPEC).tasks]
    count = round(3 * scale.hour_s * scale.rate)
    shown = list(islice(pages(world, scale.rate), count))
    targets = list(dict.fromkeys(video for page in shown for video in page.videos))[: scale.targets]
    poison = Poison(arms[POISONED].url, targets, scale.hour_s, scale.flood, scale.bot_rate)
    seen: dict[str, list[Seen]] = {name: [] for name in arms}
    with ExitStack() as stack:
        clients = {n: stack.enter_context(httpx.Client(base_url=a.url, timeout=30)) for n, a in arms.items()}
        pool = stack.enter_context(ThreadPoolExecutor(len(arms)))
        began = time.monotonic()
        for number, page in enumerate(shown):
            time.sleep(max(0.0, began + number / scale.rate - time.monotonic()))
            if number == count // 3:
                poison.start()
            ranked = pool.map(partial(show, page=page, tasks=tasks), clients.values())
            for name, one in zip(clients, ranked, strict=True):
                seen[name].append(one)
        poison.join()
    return seen, poison


def _compared(
    arms: dict[str, Arm], world: WorldFile, scale: Scale, seen: dict[str, list[Seen]], poison: Poison
) -> dict[str, Any]:
    spec, now_ms = load_spec(SPEC), time.time_ns() // 1_000_000
    tasks = [task.name for task in spec.tasks]
    held_out = list(islice(pages(world, scale.rate, seed=1), scale.held_out))
    predicted = {name: predictions(arm.url, held_out, tasks, now_ms) for name, arm in arms.items()}
    begin = len(seen[CALM]) // 3
    lost = {name: losses(each[begin:], spec) for name, each in seen.items()}
    known = {name: _rates(arm, seen[CALM], poison.targets, now_ms) for name, arm in arms.items()}

    def beside(name: str) -> dict[str, Any]:
        return {
            "mean prediction, share": dict(
                zip(tasks, relative(predicted[name], predicted[CALM]).round(5).tolist(), strict=True)
            ),
            "progressive loss, share": {t: round(lost[name][t] / lost[CALM][t] - 1, 5) for t in tasks},
            **{
                f"rates of {what}, {how} difference": round(float(fold(np.abs(known[name][what] - rate))), 5)
                for what, rate in known[CALM].items()
                for how, fold in (("mean", np.mean), ("greatest", np.max))
            },
        }

    service = {name: arm.counted_by_service() for name, arm in arms.items()}
    return {
        "pages": len(seen[CALM]),
        "poison": [
            {"sent": what, "status": status, "reason": reason, "times": times}
            for (what, status, reason), times in sorted(poison.answers.items())
        ],
        "bot pages": poison.bot_pages,
        "set aside, counted by the service": service[POISONED],
        "set aside, counted in Redis": rejected_counts(arms[POISONED].client),
        "failed requests": {name: sum(len(one.failed) for one in each) for name, each in seen.items()},
        "failures": [why for each in seen.values() for one in each for why in one.failed][:10],
        "mean predictions": {
            n: dict(zip(tasks, p.mean(axis=0).tolist(), strict=True)) for n, p in predicted.items()
        },
        "progressive loss": lost,
        "bundles": {name: _bundles(arm) for name, arm in arms.items()},
        "poison's effect": beside(POISONED),
        **({"chance": beside(AGAIN)} if AGAIN in arms else {}),
    }


def _rates(arm: Arm, seen: Sequence[Seen], targets: Sequence[str], now_ms: int) -> dict[str, Any]:
    """Rates of the newest bundle: of videos that poison was about, of others, and of viewers' tastes."""
    bundle = arm.registry.read(arm.registry.versions()[-1])
    shown: list[Page] = [one.page for one in seen]
    others = sorted({video for page in shown for video in page.videos} - set(targets))
    viewers = sorted({str(page.body["user"]["id"]) for page in shown})
    taste = [{"user_id": viewer, "topics": ["0"]} for viewer in viewers]
    return {
        "other videos": rates(bundle, "video_rates", [{"video_id": video} for video in others], now_ms),
        "other viewers": rates(bundle, "taste", taste, now_ms),
        "videos that poison is about": rates(
            bundle, "video_rates", [{"video_id": video} for video in targets], now_ms
        ),
    }


def _bundles(arm: Arm) -> list[dict[str, Any]]:
    """What the gate said to each bundle."""
    found = []
    for version in arm.registry.versions()[1:]:
        manifest = arm.registry.manifest(version)
        gate = manifest.gate
        found.append({"rows": manifest.rows, "held back": list(gate.reasons) if gate else []})
    return found


def exceeded(report: dict[str, Any]) -> list[str]:
    """The bounds that were exceeded, with what was found."""
    effect = report["poison's effect"]
    found = {
        "failed requests": max(report["failed requests"].values()),
        "answers of 5xx to poison": sum(one["times"] for one in report["poison"] if one["status"] >= 500),
        "mean prediction, share": max(effect["mean prediction, share"].values()),
        "rates of other videos and viewers, mean difference": max(
            effect[f"rates of other {what}, mean difference"] for what in ("videos", "viewers")
        ),
        "progressive loss, share": max(effect["progressive loss, share"].values()),
    }
    return [
        f"{name}: expected at most {bound:g}, found {found[name]:g}"
        for name, bound in BOUNDS.items()
        if not found[name] <= bound
    ]


def main() -> None:
    """Run, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    usual = QUICK if quick else Scale()
    parser.add_argument("--hour", type=float, default=usual.hour_s, help="Seconds in which poison comes.")
    parser.add_argument("--bot-rate", type=float, default=usual.bot_rate, help="Pages a second of the bot.")
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()
    scale = Scale(**{**usual.__dict__, "hour_s": given.hour, "bot_rate": given.bot_rate})
    with tempfile.TemporaryDirectory(prefix="watchnext-poison-") as folder:
        report = {"machine": machine(), "bounds": BOUNDS, **run(Path(folder), scale)}
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "poisoned_hour.json", (json.dumps(report, indent=2) + "\n").encode())
    if found := exceeded(report):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
