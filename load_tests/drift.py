"""What following is worth while tastes drift: a following trainer, a frozen one, and random order.

`python -m load_tests.drift [--minutes 15]` runs the live simulated world in real time, where a day takes a
minute and tastes turn in twenty days, with real processes: Redis, `watchnext train --follow`, and services.
All arms have learned the same log at rest. Viewers use the following service; every visit is also ranked by

- a service with the first bundle, whose features follow,
- a service with the first bundle, whose features stand still as well,
- nobody: its candidates in random order.

Nobody acts on the pages of these; they are judged by the world's truth, as the following one's are. The
results are written to drift.json in the output folder, and drawn to docs/images/drift.png. QUICK=1 takes two
minutes in all and writes nothing unless --out is given.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from load_tests.drifting.arms import FOLLOWING, Beside, running
from load_tests.drifting.report import draw, summary
from load_tests.machine import machine
from ranker.bundles.registry import Registry
from ranker.files.whole import write_whole
from training.service_client import ServiceClient
from training.sources.simulated.world_file import WorldFile
from training.up.traffic import SimulatedViewers
from training.viewers.behaviour import Habits
from training.viewers.crowd import Crowd, CrowdConfig

RESULTS: Final = Path(__file__).parent / "results"
PICTURE: Final = Path(__file__).parents[1] / "docs" / "images" / "drift.png"


def measure(folder: Path, minutes: float, rate: float, explore: float, console: Console) -> dict[str, Any]:
    """Run all arms for a time.

    Args:
        folder: Empty; everything is kept there.
        minutes: How long viewers come.
        rate: Visits a second.
        explore: Share of positions of what viewers see that have a random candidate.
        console: Where progress is shown.
    """
    traffic = SimulatedViewers(folder, explore=explore)
    traffic.prepare(console)
    world = WorldFile.read(traffic.log)
    registry = Registry(str(folder / "registry"))
    config = CrowdConfig(world, rate=rate, habits=Habits(explore=explore))
    with running(traffic, console) as urls:
        beside = Beside(urls)
        crowd = Crowd(config, lambda: ServiceClient(urls[FOLLOWING]), beside.watch)
        until_s = time.monotonic() + 60 * minutes
        crowd.run(
            lambda: time.monotonic() > until_s,
            lambda status: console.print(f"{status.pages:,} pages", highlight=False),
            every_s=10,
        )
    return {
        **summary(beside.rows, world.world_end_ms),
        "unanswered": beside.unanswered + crowd.status().unanswered,
        "bundles": len(registry.versions()),
        "rate": rate,
        "explore": explore,
    }


def main() -> None:
    """Measure, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0 if quick else 15.0)
    parser.add_argument("--rate", type=float, default=10.0, help="Visits a second.")
    parser.add_argument("--explore", type=float, default=0.0, help="Share of positions that explore.")
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    parser.add_argument("--picture", type=Path, default=None if quick else PICTURE)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), given.minutes, given.rate, given.explore, Console())
    report = {"machine": machine(), "minutes": given.minutes, **found}
    print(json.dumps(report["last_third"], indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "drift.json", (json.dumps(report, indent=2) + "\n").encode())
    if given.picture is not None:
        draw(found, given.picture)


if __name__ == "__main__":
    main()
