"""Fuzz a running service with valid and invalid cases from its OpenAPI document, for every endpoint.

    python -m load_tests.fuzz [--examples N] [--seed S] [--workers N]

schemathesis generates the cases and checks the answers. The results are written to fuzz.md in the output
folder. The exit status is 1 if any case was answered with 5xx or failed a check, or if there were too few
cases. QUICK=1 runs fewer, in less than five minutes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from load_tests.environment import PYTHON, ROOT, install
from load_tests.machine import machine
from load_tests.ranking.process import free_port, running
from load_tests.ranking.reference import reference_spec
from load_tests.ranking.world import CANDIDATES, World, make_world
from ranker.features.sides import Side
from ranker.files.whole import write_whole
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from serving.http.auth import ApiKey, fresh_key, hashed
from serving.http.key_file import append_key
from serving.http.roles import Role

SCHEMATHESIS: Final = "schemathesis==4.32.5"
MIN_CASES, EXAMPLES, QUICK_EXAMPLES = 20_000, 4_500, 800
"""EXAMPLES is the limit per endpoint; endpoints with few distinct cases have fewer."""
EXCLUDED_CHECKS: Final = {
    "positive_data_acceptance": "which columns and policies a model has, and that a candidate comes once, "
    "is not in the document; such requests are answered with 422",
}
"""Checks that are not run, with the reason."""
ALLOWED_503: Final = ("503 overloaded", "503 deadline-passed")
"""Answers that a client may get under load; they are counted in a column of their own."""
Report = dict[str, Any]


def fuzz(world: World, folder: Path, flags: list[str]) -> Report:
    """Start the service and run schemathesis against it.

    Args:
        world: The world with the registry and the store.
        folder: Folder for the keys, the log and the counts.
        flags: Further flags of schemathesis.

    Returns:
        Counts by endpoint and status, the report of schemathesis, and its failures as text.
    """
    spec = load_spec(str(world.folder / "spec.yaml"))
    key, keys = fresh_key(), folder / "keys.yaml"
    append_key(keys, ApiKey(name="fuzz", role=Role.ADMIN, sha256=hashed(key)))
    port, tally, found = free_port(), folder / "tally.json", folder / "report.json"
    command: list[str | Path] = [sys.executable, "-m", "watchnext", "serve", "--registry", world.registry]
    command += ["--home", world.home, "--port", str(port), "--api-keys", keys]
    first = world.request_file(CANDIDATES).read_bytes().partition(b"\n")[0]
    with running(command, port, {}, folder / "serve.log", first, key=key) as service:
        arguments = ["run", f"{service.url}/openapi.json", "--phases", "examples,coverage,fuzzing"]
        arguments += ["--checks", "all", "--exclude-checks", ",".join(EXCLUDED_CHECKS), "--mode", "all"]
        arguments += ["--continue-on-failure", "--suppress-health-check", "all", "--no-color"]
        arguments += ["--generation-database", "none", "--report", "json", "--report-json-path", str(found)]
        schemathesis = subprocess.Popen(
            [PYTHON.parent / "schemathesis", *arguments, *flags],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "load_tests.fuzzing.hooks",
                "FUZZ_KEY": key,
                "FUZZ_COLUMNS": json.dumps(_columns(spec)),
                "FUZZ_POLICIES": json.dumps([policy.name for policy in spec.score_policies()]),
                "FUZZ_TALLY": str(tally),
            },
        )
        said = []
        for line in schemathesis.stdout or ():
            print(line, end="", flush=True)
            said.append(line)
        schemathesis.wait()
    failures = "".join(said).partition("= FAILURES =")[2].partition("= SUMMARY =")[0]
    return {
        "statuses": json.loads(tally.read_text()),
        "run": json.loads(found.read_text()),
        "failures": failures.strip("=\n"),
    }


def _columns(spec: RankerSpec) -> dict[str, dict[str, str]]:
    """Return the kinds of the model's columns as requests name them, by side."""
    return {
        side.value: {
            f.source_column.removeprefix("query_"): f.kind
            for f in spec.side(side)
            if f.source_column not in ("user_id", "video_id", "query_video_id")
        }
        for side in Side
    }


def broken(report: Report, min_cases: int) -> list[str]:
    """Return the expectations that the run did not meet, as sentences."""
    found = []
    cases = sum(sum(statuses.values()) for statuses in report["statuses"].values())
    if cases < min_cases:
        found.append(f"expected at least {min_cases:,} cases, found {cases:,}")
    if not report["run"]["complete"] or report["run"]["operations"]["errored"]:
        found.append("schemathesis did not finish")
    for endpoint, statuses in report["statuses"].items():
        for status, count in statuses.items():
            if status not in ALLOWED_503 and not "200" <= status < "500":
                found.append(f"{endpoint}: {count} times {status}")
    return found + [
        f"{', '.join(failure['operations'])}: {failure['title']}, {failure['count']} times"
        for failure in report["run"]["failures"]
    ]


def markdown(report: Report, wrong: list[str], *, quick: bool) -> str:
    """Return the results as a page."""
    on, run = machine(), report["run"]
    every = [report["statuses"].get(name, {}) for name in report["statuses"]]
    cases = sum(sum(statuses.values()) for statuses in every)
    lines = [
        "# Fuzzing over the OpenAPI document",
        "",
        f"{cases:,} cases in {run['running_time']:.0f} s{' (QUICK=1: fewer than usual)' if quick else ''}, "
        f"schemathesis {run['schemathesis_version']}, seed {run['seed']}, against `watchnext serve` with API "
        f"keys, on {on['cpu']}, {on['cores']} cores, {datetime.now(UTC).isoformat(timespec='minutes')}.",
        "",
        f"**{_count(every, '5')} answers were 5xx**, {sum(s.get('no answer', 0) for s in every)} cases had "
        f"no answer, {run['test_cases']['with_failures']} cases failed a check.",
        "",
        "| endpoint | cases | 2xx | 4xx | 5xx | 503 of overload or deadline |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for endpoint, statuses in sorted(report["statuses"].items()):
        expected = sum(statuses.get(name, 0) for name in ALLOWED_503)
        lines.append(
            f"| {endpoint} | {sum(statuses.values()):,} | {_count([statuses], '2'):,} "
            f"| {_count([statuses], '4'):,} | {_count([statuses], '5')} | {expected} |"
        )
    lines += ["", "Answers by status:", ""]
    for endpoint, statuses in sorted(report["statuses"].items()):
        lines.append(f"- {endpoint}: " + ", ".join(f"{n:,} times {s}" for s, n in sorted(statuses.items())))
    lines += ["", "Every check of schemathesis is made, but:", ""]
    lines += [f"- `{check}`: {reason}." for check, reason in EXCLUDED_CHECKS.items()]
    if wrong:
        lines += ["", "## What should not be", "", *(f"- {each}" for each in wrong)]
        lines += ["", "```", report["failures"], "```"]
    return "\n".join(lines) + "\n"


def _count(every: list[dict[str, int]], first: str) -> int:
    """Answers whose status begins with a digit; the 503s that are told apart are not among them."""
    return sum(
        count
        for statuses in every
        for status, count in statuses.items()
        if status.startswith(first) and status not in ALLOWED_503
    )


def main() -> None:
    """Fuzz, write the page, and fail if something should not be."""
    quick = os.environ.get("QUICK") == "1"
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--examples", type=int, default=QUICK_EXAMPLES if quick else EXAMPLES)
    arguments.add_argument(
        "--min-cases", type=int, default=0 if quick else MIN_CASES, help="fewer cases fail the run"
    )
    arguments.add_argument("--seed", type=int, help="random by default")
    arguments.add_argument("--workers", type=int, default=2, help="threads of schemathesis")
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = arguments.parse_args()
    if refused := install((SCHEMATHESIS,)):
        sys.exit(f"{SCHEMATHESIS} did not install: {refused}")
    flags = ["--max-examples", str(given.examples), "--workers", str(given.workers)]
    flags += [] if given.seed is None else ["--seed", str(given.seed)]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        world = make_world(Path(folder) / "world", reference_spec(4, learning=True))
        report = fuzz(world, Path(folder), flags)
    wrong = broken(report, given.min_cases)
    given.out.mkdir(parents=True, exist_ok=True)
    page = markdown(report, wrong, quick=quick)
    write_whole(given.out / "fuzz.md", page.encode())
    print("\n" + page)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
