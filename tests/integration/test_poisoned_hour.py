"""Short form of `python -m load_tests.poisoned_hour`: what poison is told, and that the loop goes on."""

from collections import Counter
from itertools import islice
from pathlib import Path

import httpx

from load_tests.poisoning.arm import SPEC, running
from load_tests.poisoning.pages import pages, show
from load_tests.poisoning.poison import Poison
from ranker.spec_file import load_spec
from ranker.stream.rejected import rejected_counts
from tests.serving.waiting import wait_until
from training.api import train
from training.sources.simulated.world_file import LIVE_CONFIG, LIVE_SPEED, WorldFile
from training.sources.simulated.write import write_simulation

FOLLOW = ["--wait", "5s", "--learn-every", "1s", "--publish-every", "2s"]
TASKS = [task.name for task in load_spec(SPEC).tasks]


def test_poison_is_refused_and_the_loop_ranks_and_learns_on(tmp_path: Path) -> None:
    log, learned = tmp_path / "log", tmp_path / "learned"
    small = LIVE_CONFIG.model_copy(update={"viewers": 50, "requests_per_day": 48})
    at_rest = write_simulation(log, 1, 0, small, speed=LIVE_SPEED)
    train(SPEC, log, learned)
    shown = list(islice(pages(WorldFile.read(log), rate=10), 10))
    with (
        running(tmp_path / "arm", log, learned, follow=FOLLOW) as arm,
        httpx.Client(base_url=arm.url, timeout=30) as client,
    ):
        poison = Poison(arm.url, shown[0].videos[:4], seconds=1, flood=2_000, bot_rate=2)
        poison.start()
        seen = [show(client, page, TASKS) for page in shown]
        poison.join()
        pages_of_poison = sum(n for (_, _, reason), n in poison.answers.items() if reason == "ranked")
        rows = at_rest + 10 * len(shown) + 4 * pages_of_poison

        def learned_rows() -> int:
            assert arm.trainer.status is None, arm.trainer.said
            return arm.registry.manifest(arm.registry.versions()[-1]).rows

        wait_until(lambda: learned_rows() == rows, f"a bundle that has learned {rows} rows", 60)
        counted, in_redis = arm.counted_by_service(), rejected_counts(arm.client)

    assert [one.failed for one in seen] == [()] * len(shown)
    assert {status for _, status, _ in poison.answers} == {200, 400, 422}
    told = Counter[str]()
    for (_, status, reason), times in poison.answers.items():
        if status == 200 and reason not in ("ranked", "written"):
            told[reason] += times
    assert counted == dict(told)
    assert told.keys() == {"out of range", "unknown kind", "implausible time"}
    assert all(in_redis[reason] >= times for reason, times in told.items())
    assert in_redis["unknown request"] == in_redis["unknown video"] == 1
