"""A small log of three days with a spec that has every kind of feature, for the tests of what judges."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from load_tests.judging.log import Day, Log
from ranker.spec_file import parse_spec
from tests.ranker.small_spec import random_records
from tests.training.record_source import RecordSource

SPEC = parse_spec(
    """
name: judged
features:
  - {name: user_id, side: user, kind: id, buckets: 16, dim: 4}
  - {name: country, side: user, kind: category, capacity: 3, dim: 4}
  - {name: age, side: user, kind: number}
  - {name: video_id, side: candidate, kind: id, capacity: 32, dim: 4}
  - {name: tags, side: candidate, kind: ids, buckets: 8, dim: 4}
  - {name: duration_s, side: candidate, kind: number, transform: log1p}
  - {name: long, column: duration_s, side: candidate, kind: bin, edges: [20, 60], dim: 2}
  - {name: position, side: bias, kind: category, values: [1, 2, 3]}
  - {name: user_country, kind: cross, of: [user_id, country], buckets: 32, dim: 2}
  - {name: user_rates, kind: rate, of: [user_id], labels: [click, watch_time, rating], half_lives: [1h, 7d]}
  - {name: user_long_rates, kind: rate, of: [user_id, long], labels: [click], half_lives: [1d]}
  - {name: clicked, kind: history, of: video_id, label: click, length: 3}
  - {name: user_age, kind: age, of: [user_id]}
tasks:
  - {name: click, group: engagement, kind: binary, label_wait: 60s, position_bias: true}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, label_wait: 5m}
  - {name: like, group: satisfaction, kind: binary, weight: 2}
labels:
  - {name: rating, kind: regression, column: survey_rating}
network: {shared: [24], experts: 2, expert: [16], tower: [4]}
training: {batch_size: 32}
score: {combine: sum, terms: [{head: click}, {head: like}]}
""",
    where="judged_log.py",
)
DAYS = tuple(Day(date(2022, 5, 2) + timedelta(days=number)) for number in range(3))
ROWS_A_DAY = 256
"""Whole batches, so that a day's end makes no smaller one."""


def small_log(seed: int = 0) -> Log:
    """Three days of as many rows, the first row of each at midnight in Beijing."""
    records = random_records(len(DAYS) * ROWS_A_DAY, seed=seed)
    step_ms = 86_400_000 // ROWS_A_DAY
    time_ms = np.concatenate([day.since_ms + step_ms * np.arange(ROWS_A_DAY) for day in DAYS])
    place = records.schema.get_field_index("time_ms")
    return Log(RecordSource(records.set_column(place, "time_ms", pa.array(time_ms))))
