"""The joiner against a join of the whole log in SQL, which knows nothing of waiting and leaving."""

import math
import random
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import pytest

from ranker.labels.binary import BinaryTask
from ranker.labels.regression import RegressionLabel, RegressionTask
from ranker.stream import feedback
from ranker.stream.event_log import Entry, Kind
from ranker.stream.feedback import SHOWN
from ranker.stream.impressions import Impression
from ranker.stream.joiner import Clock, Joiner
from tests.ranker.stream.made_events import event, given, shown

LABELS: Final = [
    BinaryTask(name="click", group="engagement", kind="binary", label_wait="2s"),
    RegressionTask(
        name="watch_time",
        group="engagement",
        kind="regression",
        transform="log1p",
        label_wait="5s",
        several="sum",
    ),
    RegressionLabel(name="rating", kind="regression", several="max"),
    RegressionLabel(name="saves", kind="regression", several="sum", if_absent="zero", label_wait="1s"),
]
WAIT_S: Final = 4.0
WAIT_MS: Final = 5_000
"""That of the label that waits longest."""

_TABLES: Final = """
CREATE TABLE entries (seq INTEGER, ms INTEGER, newest_ms INTEGER);
CREATE TABLE shown (seq INTEGER, request TEXT, ms INTEGER, reported INTEGER);
CREATE TABLE videos (seq INTEGER, place INTEGER, video TEXT);
CREATE TABLE events
  (seq INTEGER, n INTEGER, name TEXT, request TEXT, video TEXT, kind TEXT, value REAL, ms INTEGER);
CREATE TABLE labels (kind TEXT, wait_ms INTEGER, low REAL, high REAL, several TEXT);
"""
_JOIN: Final = """
WITH
first AS (SELECT * FROM shown AS one
  WHERE seq = (SELECT min(seq) FROM shown AS other WHERE other.request = one.request)),
reached AS (SELECT seq, max(newest_ms) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) AS ms
  FROM entries),
timely AS (SELECT first.seq AS impression, videos.place, events.*, labels.several
  FROM events
  JOIN first ON first.request = events.request AND first.seq < events.seq
  JOIN videos ON videos.seq = first.seq AND videos.video = events.video
  JOIN reached ON reached.seq = events.seq
  JOIN labels ON labels.kind = events.kind
  WHERE events.ms - first.ms <= labels.wait_ms AND events.value BETWEEN labels.low AND labels.high
    AND reached.ms <= first.ms + :wait_ms),
numbered AS (SELECT *, row_number() OVER (PARTITION BY impression, name ORDER BY seq, n) AS nth FROM timely),
once AS (SELECT *, row_number() OVER (PARTITION BY impression, place, kind ORDER BY seq DESC, n DESC) AS back
  FROM numbered WHERE nth = 1),
given AS (SELECT impression, place, kind,
    CASE several WHEN 'sum' THEN sum(value) WHEN 'max' THEN max(value)
      ELSE max(value) FILTER (WHERE back = 1) END AS value
  FROM once GROUP BY impression, place, kind)
SELECT first.request, videos.video,
  CASE WHEN seen.value >= 1 THEN CAST(seen.value AS INTEGER)
    WHEN seen.value IS NOT NULL OR NOT first.reported THEN videos.place ELSE 0 END AS position,
  {columns}
FROM first JOIN videos ON videos.seq = first.seq
LEFT JOIN given AS seen ON seen.impression = first.seq AND seen.place = videos.place AND seen.kind = 'shown'
{joins}
ORDER BY first.seq, videos.place
"""


def random_log(draw: random.Random) -> Iterator[Entry]:
    """Doubled, late, unknown and disordered impressions and events, with event times of their own."""
    ms, names = 100_000, 0
    number = 0
    for _ in range(120):
        step = draw.choice([0, 1, 300, 700, 1_999, 2_500])
        number = number + 1 if step == 0 else 0
        ms += step
        if draw.random() < 0.4:
            request = f"r{draw.randrange(30)}"
            time_ms = ms + draw.choice([0, 0, 0, -700, -3_000, -9_000, 2_000])
            videos = draw.sample("abcdef", draw.randrange(1, 5))
            yield shown(ms, request, videos, number=number, time_ms=time_ms, reported=draw.random() < 0.3)
            continue
        events = []
        for _ in range(draw.randrange(1, 6)):
            names += draw.random() < 0.8
            kind = draw.choice(["click", "watch_time", "rating", "saves", SHOWN, "nonsense"])
            value = (
                float(draw.choice([0, 1, 1, 2, 7])) if kind != "click" else float(draw.choice([0, 1, 1, 2]))
            )
            time_ms = draw.choice([None, ms, ms - 1_500, ms + 1_000, ms - 6_000])
            request = f"r{draw.randrange(32)}"
            events.append(event(f"e{names}", request, draw.choice("abcdefg"), kind, value, time_ms))
        yield given(ms, *events, number=number)


def in_sql(entries: list[Entry], clock: Clock) -> list[tuple[Any, ...]]:
    """Request, video, position and labels of every video that was shown."""
    by_event = clock is Clock.EVENT
    with sqlite3.connect(":memory:") as database:
        database.executescript(_TABLES)
        database.executemany(
            "INSERT INTO labels VALUES (?, ?, ?, ?, ?)",
            [
                (
                    each.name,
                    round(1000 * (each.label_wait or WAIT_MS / 1000)),
                    *each.value_range,
                    each.several,
                )
                for each in LABELS
            ]
            + [(SHOWN, WAIT_MS, 0.0, 1_000.0, "last")],
        )
        known: set[str] = set()
        for seq, entry in enumerate(entries):
            if entry.kind is Kind.IMPRESSION:
                header = Impression.from_bytes(entry.data, where="").header
                newest_ms = header.time_ms if by_event else entry.id.ms
                if by_event and header.request_id in known:
                    newest_ms = 0  # what comes twice says nothing new of the time, either
                known.add(header.request_id)
                row = (seq, header.request_id, newest_ms, header.reported)
                database.execute("INSERT INTO shown VALUES (?, ?, ?, ?)", row)
                places = [(seq, place, video) for place, video in enumerate(header.video_ids, start=1)]
                database.executemany("INSERT INTO videos VALUES (?, ?, ?)", places)
            else:
                events = feedback.from_bytes(entry.data, where="")
                newest_ms = max(e.time_ms or 0 for e in events) if by_event else entry.id.ms
                rows = [
                    (seq, n, *e[:5], e.time_ms if by_event and e.time_ms is not None else entry.id.ms)
                    for n, e in enumerate(events)
                ]
                database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            database.execute("INSERT INTO entries VALUES (?, ?, ?)", (seq, entry.id.ms, newest_ms))
        names = [label.name for label in LABELS]
        query = _JOIN.format(
            columns=", ".join(f"{name}.value" for name in names),
            joins="\n".join(
                f"LEFT JOIN given AS {name} ON {name}.impression = first.seq AND {name}.place = videos.place "
                f"AND {name}.kind = '{name}'"
                for name in names
            ),
        )
        return [
            (*row[:3], *(_or_absent(value, label) for value, label in zip(row[3:], LABELS, strict=True)))
            for row in database.execute(query, {"wait_ms": WAIT_MS})
        ]


def _or_absent(value: float | None, label: Any) -> float | None:
    if value is not None:
        return value
    return None if math.isnan(label.absent_value) else label.absent_value


@pytest.mark.parametrize("clock", Clock)
@pytest.mark.parametrize("seed", range(30))
def test_it_finds_what_sql_finds_in_the_whole_log(clock: Clock, seed: int) -> None:
    entries = list(random_log(random.Random(seed)))
    joiner = Joiner(LABELS, wait_s=WAIT_S, clock=clock)

    joined = [one for entry in entries for one in joiner.take(entry)]
    joined += joiner.take(shown(10**7, "last", ["z"], time_ms=10**7))
    rows = [
        (one.impression.header.request_id, video, position, *(None if math.isnan(v) else v for v in labels))
        for one in joined
        for video, position, labels in zip(
            one.impression.header.video_ids, one.positions.tolist(), one.labels.tolist(), strict=True
        )
    ]

    expected = in_sql(entries, clock)
    assert len(expected) > 30
    if clock is Clock.ARRIVAL:
        assert rows == expected
    else:
        assert sorted(rows, key=repr) == sorted(expected, key=repr)
