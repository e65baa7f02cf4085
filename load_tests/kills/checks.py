"""What became of everything: the whole log as it was written, and what was made of it."""

import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import redis
from safetensors import safe_open

from load_tests.kills.viewers import Told
from ranker.errors import StoreError
from ranker.spec import RankerSpec
from ranker.store.keys import events_key, layouts_key, texts_key
from ranker.stream import feedback
from ranker.stream.event_log import BEGINNING, Entry, EntryId, Kind
from ranker.stream.impressions import Impression
from ranker.stream.joiner import Joiner
from ranker.stream.redis_event_log import RedisEventLog, entry_fields
from training.sources.parquet import ParquetSource

READER: Final = "the recorder"


class Recorder(threading.Thread):
    """Copies the log of events as it grows, as it is trimmed behind its readers.

    Args:
        client: Of the Redis that has it.
        stop: When to stop, once nothing more comes.

    Attributes:
        entries: All of it.
    """

    def __init__(self, client: redis.Redis, stop: threading.Event) -> None:
        super().__init__(name="recorder", daemon=True)
        self.entries: list[Entry] = []
        self._log = RedisEventLog(client)
        self._finished = stop
        self._log.reached(READER, BEGINNING)

    def run(self) -> None:
        """Copy."""
        after = BEGINNING
        while True:
            try:
                found = self._log.read(after, count=1_000, wait_s=0.2)
                self.entries += found
                if found:
                    after = found[-1].id
                    self._log.reached(READER, after)  # which may fail, though they are copied
            except StoreError:
                time.sleep(0.1)
                continue
            if not found and self._finished.is_set():
                return


def copy_log(entries: list[Entry], spec: RankerSpec, source: redis.Redis, target: redis.Redis) -> None:
    """Write a log with the ids that it had, and what is needed to read it, to another Redis."""
    for key in (layouts_key(), texts_key(spec.hash_seed)):
        kept: Any = source.hgetall(key)
        if kept:
            target.hset(key, mapping=kept)
    for start in range(0, len(entries), 500):
        with target.pipeline(transaction=False) as pipeline:
            for entry in entries[start : start + 500]:
                pipeline.xadd(events_key(), entry_fields(entry.kind, entry.data), id=str(entry.id))
            pipeline.execute()


def examples(entries: list[Entry], spec: RankerSpec, wait_s: float) -> list[tuple[str, str]]:
    """Request and video of each example that the log has, in the order in which they are learned."""
    joiner = Joiner(spec.feedback, wait_s=wait_s)
    joined = [one for entry in entries for one in joiner.take(entry)]
    joined += joiner.advance(entries[-1].id.ms + 10**6)
    headers = [one.impression.header for one in joined]
    return [(header.request_id, video) for header in headers for video in header.video_ids]


def lost(entries: list[Entry], told: Told) -> dict[str, int]:
    """What was acknowledged and is not in the log."""
    requests: set[str] = set()
    events: set[tuple[str, str, str, str, float]] = set()
    numbers: list[EntryId] = [entry.id for entry in entries]
    for entry in entries:
        if entry.kind is Kind.IMPRESSION:
            requests.add(Impression.from_bytes(entry.data, where=str(entry.id)).header.request_id)
        else:
            found = feedback.from_bytes(entry.data, where=str(entry.id))
            events |= {(e.request_id, e.video_id, e.kind, e.event_id, e.value) for e in found}
    return {
        "entries": len(entries),
        "entries out of order": sum(a >= b for a, b in pairwise(numbers)),
        "acknowledged impressions": len(told.shown),
        "acknowledged impressions lost": len(told.shown - requests),
        "acknowledged events": len(told.events),
        "acknowledged events lost": len(told.events - events),
    }


def archived(folder: Path, expected: list[tuple[str, str]]) -> dict[str, int]:
    """The rows of an archive, which are the first of the examples."""
    rows = [
        key
        for batch in ParquetSource(str(folder)).records(10_000)
        for key in zip(batch["request_id"].to_pylist(), batch["video_id"].to_pylist(), strict=True)
    ]
    counts = Counter(rows)
    return {
        "rows archived": len(rows),
        "rows archived twice": len(rows) - len(counts),
        "rows archived that are no examples": len(counts.keys() - set(expected)),
        "rows skipped by the archive": len(set(expected[: len(counts)]) - counts.keys()),
    }


def different_tensors(one: Path, other: Path) -> list[str]:
    """Names of tensors of two checkpoints that are not the same, bit for bit."""
    with safe_open(one, "numpy") as a, safe_open(other, "numpy") as b:
        names = set(a.keys()) ^ set(b.keys())
        for name in set(a.keys()) & set(b.keys()):
            if a.get_tensor(name).tobytes() != b.get_tensor(name).tobytes():
                names.add(name)
    return sorted(names)
