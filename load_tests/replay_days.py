"""Ten days of real impressions through HTTP, beside the same log at rest.

`python -m load_tests.replay_days [--data DIR]` plays KuaiRand's log back: every request is ranked by a
service, its feedback sent to it, joined in the log of events, learned by `train --follow` and archived. Then
the same log is learned at rest. It counts the rows of the archive that the log does not have, that it has
twice or lacks, and those with another value in any column of the spec; and compares each head's progressive
AUC.

The results are written to replay_days.json in the output folder. QUICK=1 takes the first hours and writes
nothing unless --out is given.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import ranker.presets
from load_tests.kuairand import BESIDE, demand
from load_tests.machine import machine
from ranker.bundles.registry import Registry
from ranker.events import POSITION, QUERY_VIDEO_ID, TIME_MS, USER_ID, VIDEO_ID
from ranker.features.sides import Side
from ranker.files.whole import write_whole
from ranker.private_redis.server import private_server
from ranker.spec import RankerSpec
from ranker.spec_file import load_spec
from ranker.store.connection import connect
from ranker.stream.redis_event_log import RedisEventLog
from training.api import train
from training.replay.replay import ReplayConfig, ReplayCounts, replay
from training.sources.base import Source
from training.sources.kuairand.source import KuaiRandSource
from training.sources.lateness import parse_wait
from training.sources.parquet import ParquetSource

RESULTS: Final = Path(__file__).parent / "results"
DAY_MS: Final = 86_400_000
STRETCH_DAYS: Final = {False: 400, True: 1}
"""Rows of different stretches are in different batches; a log at rest has no stretches. So all rows here are
within one of so many days since 1970, in a quick run or not."""
WAIT: Final = "30m"
"""How long impressions wait: the longer, the more requests may be sent at once."""
FIRST_ROWS: Final = 2_000
"""Rows of the bundle that ranks at first."""
END_S: Final = 120.0
ABSENT: Final = "{name: finish, kind: binary, label_wait: 5m}"


def spec_file(folder: Path) -> Path:
    """The preset, but for one label that some rows of the log do not have: a log of events cannot say so."""
    text = (Path(ranker.presets.__path__[0]) / "kuairand.yaml").read_text()
    assert ABSENT in text
    path = folder / "kuairand.yaml"
    path.write_text(text.replace(ABSENT, ABSENT.replace("}", ", if_absent: missing}")))
    return path


@contextmanager
def process(*arguments: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a subcommand of watchnext; end it by SIGTERM."""
    with log.open("wb") as said:
        started = subprocess.Popen([sys.executable, "-m", "watchnext", *arguments], stdout=said, stderr=said)
        try:
            yield started
        finally:
            started.terminate()
            status = started.wait(END_S)
    if status:
        sys.exit(f"expected {arguments[0]} to end with status 0, found {status}:\n{log.read_text()[-2000:]}")


def service_url(log: Path) -> str:
    """The URL that a service says in its log."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        if " at http://" in (said := log.read_text()):
            return "http://" + said.split(" at http://")[1].split()[0]
        time.sleep(0.1)
    sys.exit(f"expected the service to start, found:\n{log.read_text()}")


def played(
    spec: RankerSpec, source: Source, folder: Path, yaml: Path, quick: bool, until_ms: int
) -> dict[str, Any]:
    """Play the log back, and wait until the trainer and the archive have all of it."""
    expected = sum(batch.num_rows for batch in source.records(65_536, until_ms=until_ms))
    first = next(source.records(FIRST_ROWS))
    train(spec, source, folder / "first", until_ms=first.column(TIME_MS)[-1].as_py())
    live = folder / "live"
    with ExitStack() as stack:
        url = stack.enter_context(private_server(folder))
        client = stack.enter_context(connect(url))
        where = ["--spec", str(yaml), "--redis-url", url, "--clock", "event", "--wait", WAIT]
        learn = ["--learn-every", f"{STRETCH_DAYS[quick]}d", "--publish-every", "1d"]
        follow = ["train", "--follow", *where, *learn, "--registry", str(live)]
        stack.enter_context(process(*follow, log=folder / "train.log"))
        archive = ["events", "archive", *where, "--out", str(folder / "archive")]
        stack.enter_context(process(*archive, log=folder / "archive.log"))
        serve = ["serve", "--registry", str(folder / "first"), "--redis-url", url, "--port", "0"]
        shown = ["--impressions", "sync", "--impressions-seen", "shown"]
        stack.enter_context(process(*serve, *shown, log=folder / "serve.log"))
        config = ReplayConfig(
            spec,
            source,
            service_url(folder / "serve.log"),
            folder / "replay.json",
            until_ms=until_ms,
            wait_s=parse_wait(WAIT, "WAIT") / 1000,
        )
        began = time.monotonic()
        counts = replay(config, stop=lambda: False, watch=_watch(began, expected))
        seconds = time.monotonic() - began
        deadline = time.monotonic() + END_S
        while time.monotonic() < deadline and not (_rows(live) >= expected and _archived(folder) >= expected):
            time.sleep(0.5)
        learned_s = time.monotonic() - began
        extent, size = RedisEventLog(client).extent(), RedisEventLog(client).size()
    manifest = Registry(str(live)).manifest(Registry(str(live)).current())
    return {
        "rows": expected,
        "requests": counts.requests,
        "events": counts.events,
        "set_aside_by_the_service": dict(counts.rejected),
        "sent_again": counts.retries,
        "seconds": seconds,
        "requests_per_s": counts.requests / seconds,
        "seconds_until_learned_and_archived": learned_s,
        "entries_kept": extent.entries,
        "log_mb": size / 1e6,
        "rows_learned": manifest.rows,
        "heads": manifest.metrics,
    }


def _watch(began: float, rows: int) -> Any:
    said = began

    def watch(counts: ReplayCounts) -> None:
        nonlocal said
        if (now := time.monotonic()) - said > 30:
            said = now
            print(f"{counts.requests:,} requests of at most {rows:,} in {now - began:.0f} s", flush=True)

    return watch


def _rows(registry: Path) -> int:
    found = Registry(str(registry))
    return found.manifest(found.current()).rows if found.versions() else 0


def _archived(folder: Path) -> int:
    files = list((folder / "archive").rglob("*.parquet"))
    return (
        sum(footer.num_rows for footer in ParquetSource(str(folder / "archive")).footers.values())
        if files
        else 0
    )


def compared(
    spec: RankerSpec, log: Iterator[pa.RecordBatch], archive: Iterator[pa.RecordBatch]
) -> dict[str, Any]:
    """Compare two logs by viewer, video and time, and the values of rows that both have."""
    ids = (TIME_MS, USER_ID, VIDEO_ID)
    features = [f.source_column for f in spec.side(*Side)]
    labels = [label.source_column for label in spec.feedback]
    columns = list(dict.fromkeys([*ids, QUERY_VIDEO_ID, POSITION, *features, *labels]))
    tables = [pa.Table.from_batches(list(batches)).select(columns) for batches in (log, archive)]
    keys = [
        list(zip(*(table[name].cast(pa.string()).to_pylist() for name in ids), strict=True))
        for table in tables
    ]
    found, expected = Counter(keys[1]), Counter(keys[0])
    order = [sorted(range(len(each)), key=each.__getitem__) for each in keys]
    report: dict[str, Any] = {
        "rows": [len(each) for each in keys],
        "missing": sum((expected - found).values()),
        "twice": sum(count - expected[key] for key, count in found.items() if 0 < expected[key] < count),
        "in_another_place": sum(one != other for one, other in zip(*keys, strict=False)),
        "unknown": sum(count for key, count in found.items() if not expected[key]),
    }
    if not (report["missing"] or report["twice"] or report["unknown"]):
        different = {}
        for name in columns:
            kind = tables[1][name].type
            values = [
                _plain(table[name].take(pa.array(rows)), kind)
                for table, rows in zip(tables, order, strict=True)
            ]
            if count := sum(one != other for one, other in zip(*values, strict=True)):
                different[name] = count
        report |= {"columns": len(columns), "different_values": different}
    return report


def _plain(column: pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    """Values in one form, that of the archive: ids and categories as text, labels in single precision."""
    if pa.types.is_list(kind):
        return [value and tuple(str(item) for item in value) for value in column.to_pylist()]
    if pa.types.is_string(kind):
        return column.cast(pa.string()).to_pylist()
    return column.cast(pa.float32(), safe=False).to_pylist()


def main() -> None:
    """Play back, compare, and print and write the results."""
    quick = os.environ.get("QUICK") == "1"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=BESIDE, help="Folder of KuaiRand-Pure.")
    parser.add_argument("--out", type=Path, default=None if quick else RESULTS, help="Where results go.")
    given = parser.parse_args()

    source = KuaiRandSource(demand(given.data))
    first_ms = next(source.records(1)).column(TIME_MS)[0].as_py()
    until_ms = (first_ms // (STRETCH_DAYS[quick] * DAY_MS) + 1) * STRETCH_DAYS[quick] * DAY_MS
    with tempfile.TemporaryDirectory(prefix="watchnext-replay-") as name:
        folder = Path(name)
        yaml = spec_file(folder)
        spec = load_spec(str(yaml))
        report: dict[str, Any] = {"machine": machine(), **played(spec, source, folder, yaml, quick, until_ms)}
        heads = report.pop("heads")
        at_rest = train(spec, source, folder / "rest", until_ms=until_ms).trainer
        report["archive_beside_log"] = compared(
            spec,
            source.records(65_536, until_ms=until_ms),
            ParquetSource(str(folder / "archive")).records(65_536),
        )
        total = at_rest.metrics.total()
        report["rows_learned_at_rest"] = at_rest.rows
        report["auc"] = {
            head: {
                "positives": figures["positives"],
                "at_rest": figures["auc"],
                "through_http": heads[head]["auc"],
                "difference": abs(figures["auc"] - (heads[head]["auc"] or 0.0)),
            }
            for head, figures in total.items()
            if figures.get("auc") is not None
        }
        report["largest_auc_difference"] = max(each["difference"] for each in report["auc"].values())
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        write_whole(given.out / "replay_days.json", (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
