"""Load of a running `watchnext serve`: viewers who request rankings of 100 to 800 popular videos.

    locust -f load_tests/locustfile.py --headless --host http://127.0.0.1:8000 --users 20 --shape bursts
        --max-p99-ms 200 --max-failures-percent 0 --html report.html

The columns of a request are read from the service (GET /v1/model), so any ranker can be tested. Ids are whole
numbers below --known-videos and --known-users; they need not be stored. Without --shape, locust's own
--users, --spawn-rate and --run-time decide how many viewers there are.
"""

import json
import random
from argparse import ArgumentParser
from itertools import accumulate
from typing import Any, ClassVar
from urllib.request import Request, urlopen

from locust import FastHttpUser, LoadTestShape, between, events, task
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import Runner

MIN_CANDIDATES, MAX_CANDIDATES = 100, 800
"""Candidates of a request."""
BURST = (3, 10)
"""Requests in a row of a viewer who scrolls."""
SHAPES: dict[str, list[tuple[int, float]]] = {  # stages: seconds, share of --users at their end
    "steady": [(60, 1.0)],
    "ramp": [(15, 0.25), (15, 0.5), (15, 0.75), (15, 1.0)],
    "bursts": [(10, 0.2), (5, 1.0), (10, 0.2), (5, 1.0), (10, 0.2), (5, 1.0), (10, 0.2)],
    "overload": [(15, 0.1), (30, 1.0), (15, 0.1)],
}


class Staged(LoadTestShape):
    """A number of users that changes in stages, after which the test ends.

    Args:
        stages: Seconds of each stage, and its share of `--users`.
        environment: The environment with the option `--users`.
    """

    abstract = True  # locust would use a concrete shape even without --shape

    def __init__(self, stages: list[tuple[int, float]], environment: Environment) -> None:
        super().__init__()
        self._stages, self._options = stages, environment.parsed_options

    def tick(self) -> tuple[int, float] | None:
        """Return the number of users and the spawn rate; None at the end."""
        left = self.get_run_time()
        for seconds, share in self._stages:
            left -= seconds
            if left < 0:
                users = max(1, round(share * self._options.num_users))
                return users, users
        return None


class Viewer(FastHttpUser):
    """A viewer who requests a ranking, watches for a while, and requests the next one."""

    wait_time = between(0.5, 2)
    headers: ClassVar[dict[str, str]]
    popularity: ClassVar[list[float]]
    moment: ClassVar[dict[str, str]]
    pair_numbers: ClassVar[list[str]]

    def on_start(self) -> None:
        """Choose the viewer's id, and set the headers."""
        options = self.environment.parsed_options
        key = options.api_key
        self.headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        self.user_id = str(random.randrange(options.known_users))

    @task(9)
    def look(self) -> None:
        """Request one ranking."""
        self._rank()

    @task(1)
    def scroll(self) -> None:
        """Request several rankings in a row."""
        for _ in range(random.randint(*BURST)):
            self._rank()

    def _rank(self) -> None:
        options = self.environment.parsed_options
        body = self._body(random.randint(MIN_CANDIDATES, MAX_CANDIDATES))
        with self.client.post(
            "/v1/rank", data=json.dumps(body), headers=self.headers, catch_response=True
        ) as answer:
            if answer.status_code == 503 and options.tolerate_503:
                answer.success()
            elif answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif len(answer.json()["items"]) != body["limit"]:
                answer.failure(f"expected {body['limit']} videos, found {len(answer.json()['items'])}")

    def _body(self, count: int) -> dict[str, Any]:
        query, *candidates = self._videos(count + 1)
        return {
            "user": {"id": self.user_id},
            "query_video_id": query,
            "context": {
                column: random.random() if kind == "number" else random.randrange(4)
                for column, kind in self.moment.items()
                if kind != "ids"
            },
            "candidates": [
                {"id": video, "features": {name: round(random.gauss(0, 1), 4) for name in self.pair_numbers}}
                for video in candidates
            ],
            "limit": min(20, len(candidates)),
        }

    def _videos(self, count: int) -> list[str]:
        """Draw distinct videos with probability proportional to 1 / rank (Zipf)."""
        found: dict[int, None] = {}
        known = range(len(self.popularity))
        while len(found) < min(count, len(known)):
            found |= dict.fromkeys(random.choices(known, cum_weights=self.popularity, k=count))
        return [str(video) for video in list(found)[:count]]


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--shape", choices=list(SHAPES), help="how the number of users changes, up to --users"
    )
    parser.add_argument("--known-videos", type=int, default=20_000, help="ids of videos are below")
    parser.add_argument("--known-users", type=int, default=2_000, help="ids of users are below")
    parser.add_argument(
        "--api-key", env_var="WATCHNEXT_API_KEY", is_secret=True, help="sent as a bearer token"
    )
    parser.add_argument("--tolerate-503", action="store_true", help="an overload may be answered with 503")
    parser.add_argument(
        "--max-p99-ms", type=float, help="target: exit status 1 if the 99th percentile is above"
    )
    parser.add_argument("--max-failures-percent", type=float, help="target: exit status 1 if more fail")


@events.init.add_listener
def _shape(environment: Environment, runner: Runner | None, **_: Any) -> None:
    shape = environment.parsed_options.shape
    if shape and runner:
        environment.shape_class = Staged(SHAPES[shape], environment)
        environment.shape_class.runner = runner


@events.test_start.add_listener
def _learn(environment: Environment, **_: Any) -> None:
    """Read the columns of a request from the service."""
    options = environment.parsed_options
    key = {"Authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    Viewer.headers = {"Content-Type": "application/json", **key}
    try:
        with urlopen(Request(f"{environment.host}/v1/model", headers=key), timeout=10) as answer:
            features = json.load(answer)["features"]
    except OSError as error:
        raise StopTest(f"{environment.host}: expected a running service, found {error}") from error
    Viewer.popularity = list(accumulate(1 / rank for rank in range(1, options.known_videos + 1)))
    Viewer.moment = {f["column"]: f["kind"] for f in features if f["side"] == "context"}
    Viewer.pair_numbers = [f["column"] for f in features if f["side"] == "pair" and f["kind"] == "number"]


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    options, total = environment.parsed_options, environment.stats.total
    failed_percent = 100 * total.fail_ratio
    p99_ms = total.get_response_time_percentile(0.99) or 0
    missed = []
    if total.num_requests == 0:
        missed.append("expected requests, found none")
    if options.max_p99_ms is not None and p99_ms > options.max_p99_ms:
        missed.append(f"expected a p99 of at most {options.max_p99_ms:g} ms, found {p99_ms} ms")
    if options.max_failures_percent is not None and failed_percent > options.max_failures_percent:
        missed.append(
            f"expected at most {options.max_failures_percent:g} % failures, found {failed_percent:.2f} %"
        )
    for line in missed:
        print(line)
    environment.process_exit_code = 1 if missed else 0
