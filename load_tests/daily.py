"""A daily job over a log that grows and is pruned: every row is learned once, or named as too late.

Each day a file of that day is written, the oldest one is deleted, and a run goes on with --resume and
--late-by. Files come late as well: within what the runs wait for, and later. A read file is rewritten once, a
run is killed in the middle once, and one run finds nothing new.

`python -m load_tests.daily` prints what became of the rows after every day;
`tests/integration/test_daily.py` asserts it of a smaller log.
"""

import argparse
import io
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from ranker.bundles.registry import Registry
from ranker.errors import SourceError
from ranker.spec_file import parse_spec
from training.run import RunConfig, RunResult, run
from training.sources.base import Offset, SourceBatch
from training.sources.lateness import Lateness, TooLate
from training.sources.parquet import ParquetSource

SPEC: Final = parse_spec(
    """
name: daily
features:
  - {name: user_id, side: user, kind: id, buckets: 256, dim: 4}
  - {name: video_id, side: candidate, kind: id, buckets: 256, dim: 4}
  - {name: video_rates, kind: rate, of: [video_id], labels: [click], half_lives: [1d]}
tasks:
  - {name: click, group: engagement, kind: binary}
network: {kind: shared_bottom, shared: [8], tower: [4]}
training: {batch_size: 64, checkpoint_rows: 256}
score: {terms: [{head: click}]}
""",
    where="daily.py",
)
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FIRST_MS: Final = 1_750_032_000_000  # a midnight
WAIT_MS: Final = 6 * HOUR_MS
WAITING: Final = Lateness(WAIT_MS)
KEPT_DAYS: Final = 3


def main() -> None:
    """Run the days and print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--rows", type=int, default=10_000, help="rows of a day")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for line in table(Job(Path(folder), given.rows).days(given.days)):
            print(line)


@dataclass(frozen=True)
class Day:
    """What has become of all rows up to a day.

    Attributes:
        day: The day's number; the last entry is of a run that waits for nothing.
        offered: Rows that were in the log at some time.
        once: Those that were learned once.
        twice: Those that were learned more often.
        waiting: Those that a later run is to learn.
        too_late: Those that were left out, named and counted.
        lost: Those of which nothing of this is true.
        what: What happened.
    """

    day: int
    offered: int
    once: int
    twice: int
    waiting: int
    too_late: int
    lost: int
    what: str


def table(days: Iterator[Day]) -> Iterator[str]:
    """Yield the lines of a table as the days go by."""
    heads = ("day", "offered", "learned once", "learned twice", "waiting", "named too late", "lost")
    yield "  ".join(heads) + "  what happened"
    for day in days:
        figures = (day.day, day.offered, day.once, day.twice, day.waiting, day.too_late, day.lost)
        cells = [f"{figure:>{len(head)},}" for figure, head in zip(figures, heads, strict=True)]
        yield "  ".join(cells) + f"  {day.what}"


class Job:
    """A log, the runs over it, and which rows they learned.

    Args:
        folder: An empty folder.
        rows: Rows of a day.

    Attributes:
        learned: Numbers of the rows that the model has learned, in the order in which it learned them.
        times_ms: The time of every row that was offered.
        too_late: Numbers of the rows that came too late.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self.learned: list[int] = []
        self.times_ms: list[int] = []
        self.too_late: set[int] = set()
        self._log, self._registry = folder / "log", folder / "registry"
        self._log.mkdir()
        self._rows = rows
        self._random = np.random.default_rng(0)

    def days(self, count: int) -> Iterator[Day]:
        """Go through the days, and then learn what is left without waiting for more."""
        for day in range(count):
            yield self._after(day, self._day(day))
        self._run(Lateness())
        yield self._after(count, "a run that waited for nothing")

    def _day(self, day: int) -> str:
        """Let a day happen and say what was special."""
        self._write(f"day-{day:03}", day * DAY_MS, DAY_MS, self._rows)
        (self._log / f"day-{day - KEPT_DAYS:03}.parquet").unlink(missing_ok=True)
        special: dict[int, Callable[[int], str]] = {
            2: self._late_within,
            3: self._stopped,
            4: self._late_beyond,
            5: self._nothing_new,
            6: self._rewritten,
        }
        return special.get(day % 7, self._ordinary)(day)

    def _ordinary(self, day: int) -> str:
        self._run()
        return ""

    def _late_within(self, day: int) -> str:
        self._write(f"late-{day:03}", day * DAY_MS - WAIT_MS, WAIT_MS, self._rows // 20)
        self._run()
        return "a file came late by no more than runs wait"

    def _late_beyond(self, day: int) -> str:
        first, newest_ms = len(self.times_ms), self._newest_ms()
        path = self._write(f"late-{day:03}", (day - 1) * DAY_MS, DAY_MS, self._rows // 20)
        self._demand_refusal(path)
        late = {row for row in range(first, len(self.times_ms)) if self.times_ms[row] <= newest_ms}
        skipped = self._run(Lateness(WAIT_MS, TooLate.SKIP))
        assert skipped == len(late), (skipped, len(late))
        self.too_late |= late
        return f"a file came too late, was refused by name, and {skipped:,} of its rows skipped"

    def _stopped(self, day: int) -> str:
        source = _Watched(self._log, WAITING, stop_after=self._rows // 2)
        with suppress(KeyboardInterrupt):
            self._start(source)
        # How many of these the checkpoint has is known when the next run goes on from it
        self.learned += source.rows
        self._run()
        return "a run was stopped in the middle and went on"

    def _nothing_new(self, day: int) -> str:
        self._run()
        version = Registry(str(self._registry)).current()
        again = self._start(_Watched(self._log, WAITING))
        assert (again.model_version, again.new_rows, again.published) == (version, 0, False)
        assert Registry(str(self._registry)).current() == version
        return "a second run found nothing new and published nothing"

    def _rewritten(self, day: int) -> str:
        path = self._log / f"day-{day - 1:03}.parquet"
        kept = path.read_bytes()
        pq.write_table(pq.read_table(path).slice(1), path)
        self._demand_refusal(path)
        path.write_bytes(kept)
        self._run()
        return "a file was rewritten, was refused by name, and was put back"

    def _write(self, name: str, since_ms: int, span_ms: int, rows: int) -> Path:
        """Write a file of rows that are spread over a span of time, and note that they were offered."""
        time_ms = np.sort(self._random.integers(0, span_ms, rows)) + FIRST_MS + since_ms
        first = len(self.times_ms)
        self.times_ms += time_ms.tolist()
        columns: dict[str, Any] = {
            "time_ms": time_ms,
            "user_id": self._random.integers(0, 50, rows),
            "video_id": self._random.integers(0, 80, rows),
            "click": self._random.integers(0, 2, rows),
            "row": np.arange(first, first + rows),
        }
        path = self._log / f"{name}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=max(rows // 4, 1))
        return path

    def _run(self, lateness: Lateness = WAITING) -> int:
        """Go on with the run, note what it learned, and return how many rows it named as too late."""
        source = _Watched(self._log, lateness)
        result = self._start(source)
        before = result.trainer.rows - result.new_rows
        self.learned = self.learned[:before] + source.rows
        assert len(self.learned) == result.trainer.rows
        return source.late_rows

    def _start(self, source: "_Watched") -> RunResult:
        config = RunConfig(SPEC, source, str(self._registry), resume=True)
        return run(config, Console(file=io.StringIO()), live=False)

    def _demand_refusal(self, path: Path) -> None:
        """Make sure that a run refuses the log and names the file."""
        source = _Watched(self._log, WAITING)
        refusal = ""
        try:
            self._start(source)
        except SourceError as error:
            refusal = str(error)
        assert path.name in refusal, f"expected {path} to be refused, found '{refusal}'"
        assert not source.rows

    def _newest_ms(self) -> int:
        return max(self.times_ms[row] for row in self.learned)

    def _after(self, day: int, what: str) -> Day:
        times, newest_ms = Counter(self.learned), self._newest_ms()
        unlearned = {row for row in range(len(self.times_ms)) if row not in times}
        waiting = {row for row in unlearned if self.times_ms[row] > newest_ms}
        return Day(
            day=day,
            offered=len(self.times_ms),
            once=sum(1 for count in times.values() if count == 1),
            twice=sum(1 for count in times.values() if count > 1),
            waiting=len(waiting),
            too_late=len(self.too_late),
            lost=len(unlearned - waiting - self.too_late),
            what=what,
        )


class _Watched(ParquetSource):
    """A log that notes which rows were learned from, and may stop the run.

    Attributes:
        rows: Numbers of the rows in the order in which they were learned.
    """

    def __init__(self, log: Path, lateness: Lateness, *, stop_after: int | None = None) -> None:
        super().__init__(str(log))
        self._lateness = lateness
        self._stop_after = stop_after
        self.rows: list[int] = []

    def batches(
        self,
        rows: int,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        resume_from: Offset | None = None,
    ) -> Iterator[SourceBatch]:
        """See `Source.batches`."""
        read = super().batches(rows, since_ms=since_ms, until_ms=until_ms, resume_from=resume_from)
        for batch in read:
            if self._stop_after is not None and len(self.rows) >= self._stop_after:
                raise KeyboardInterrupt
            self.rows += batch.records.column("row").to_pylist()
            yield batch


if __name__ == "__main__":
    main()
