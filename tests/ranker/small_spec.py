"""A small spec with every kind of feature, side and task, and random records for it."""

from typing import Any

import numpy as np
import pyarrow as pa

from ranker.features.sides import SIDES, Group
from ranker.features.values import FeatureValue
from ranker.networks.match_multiplications import with_kind
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec

SMALL_YAML = """
name: small
hash_seed: 7
features:
  - {name: user_id, side: user, kind: id, buckets: 48, dim: 4}
  - {name: country, side: user, kind: category, capacity: 3, dim: 4}
  - {name: interests, side: user, kind: ids, buckets: 16, dim: 3}
  - {name: age, side: user, kind: number}
  - {name: query_video_id, side: query, kind: id, shares: video_id}
  - {name: query_tags, side: query, kind: ids, shares: tags}
  - {name: query_duration_s, side: query, kind: number, transform: log1p}
  - {name: hour, side: context, kind: category, capacity: 24, dim: 2}
  - {name: video_id, side: candidate, kind: id, capacity: 40, dim: 4,
     admission_threshold: 2, expire_after: 10m}
  - {name: tags, side: candidate, kind: ids, buckets: 32, dim: 4}
  - {name: topic, side: candidate, kind: category, values: [news, music, 7], dim: 4}
  - {name: duration_s, side: candidate, kind: number, transform: log1p}
  - {name: last_author, column: last_author_id, side: pair, kind: id, buckets: 16, dim: 2}
  - {name: affinity, side: pair, kind: number}
  - {name: position, side: bias, kind: category, values: [1, 2, 3]}
  - {name: device, side: bias, kind: category, capacity: 2}
  - {name: user_hour, kind: cross, of: [user_id, hour, country], buckets: 32, dim: 2}
  - {name: user_topic, kind: cross, of: [user_id, topic], buckets: 64, dim: 4}
tasks:
  - {name: click, group: engagement, kind: binary, position_bias: true}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s, position_bias: true}
  - {name: like, group: satisfaction, kind: binary, weight: 2}
  - {name: rating, group: satisfaction, kind: regression, column: survey_rating, unit: stars}
network: {kind: mmoe, shared: [12], experts: 3, expert: [8, 6], tower: [5]}
training: {batch_size: 32, metrics_window_s: 60, checkpoint_rows: 64}
score:
  combine: product
  terms:
    - {head: click, weight: 0.5}
    - {head: watch_time, transform: log1p, offset: 1}
    - {head: like, offset: 1}
"""
SMALL_SPEC = parse_spec(SMALL_YAML, where="small_spec.py")


def small_spec(**network: Any) -> RankerSpec:
    """The small spec with other sizes of its network, or with one of another `kind` at their cost."""
    kind = network.pop("kind", "mmoe")
    sizes = MMoESpec.model_validate({**SMALL_SPEC.network.model_dump(), **network})
    return with_kind(SMALL_SPEC.model_copy(update={"network": sizes}), kind)


def random_records(rows: int, *, seed: int = 0, nulls: float = 0.2) -> pa.RecordBatch:
    """Records that `SMALL_SPEC` can be trained on, in event-time order.

    Args:
        rows: How many.
        seed: Another seed gives other records.
        nulls: Share of missing values in every feature, label and inside every bag; ids are never missing.
    """
    random = np.random.default_rng(seed)

    def gaps(values: list[Any]) -> list[Any]:
        return [
            None if gap else value for value, gap in zip(values, random.random(rows) < nulls, strict=True)
        ]

    def ids(count: int) -> list[Any]:
        return random.integers(0, count, rows).tolist()

    def names(*values: str) -> list[Any]:
        return random.choice(values, rows).tolist()

    def bags(*values: str) -> list[Any]:
        sizes = random.integers(0, 4, rows)
        return [
            [None if random.random() < nulls else v for v in random.choice(values, n).tolist()] for n in sizes
        ]

    def floats(scale: float) -> list[Any]:
        return random.gamma(2.0, scale, rows).tolist()

    def flags(rate: float) -> list[Any]:
        return (random.random(rows) < rate).astype(float).tolist()

    columns: dict[str, Any] = {
        "time_ms": np.cumsum(random.integers(1, 5_000, rows)) + 1_700_000_000_000,
        "user_id": ids(20),
        "country": gaps(names("no", "is", "dk", "se", "fi")),
        "interests": gaps(bags("chess", "løp", "日本", "")),
        "age": pa.array(gaps(ids(90)), pa.int64()),
        "query_video_id": pa.array(gaps(ids(50)), pa.int64()),
        "query_tags": gaps(bags("a", "b", "c", "ü")),
        "query_duration_s": gaps(floats(30)),
        "hour": gaps(ids(24)),
        "video_id": ids(50),
        "tags": gaps(bags("a", "b", "c", "ü")),
        "topic": gaps(names("news", "music", "7", "sport")),
        "duration_s": gaps(floats(30)),
        "last_author_id": gaps(names("x", "y", "z")),
        "affinity": gaps(random.normal(size=rows).tolist()),
        "position": gaps((random.integers(1, 5, rows)).tolist()),
        "device": gaps(names("phone", "tv", "web")),
        "click": gaps(flags(0.4)),
        "watch_time": gaps(floats(20)),
        "like": gaps(flags(0.1)),
        "survey_rating": gaps(random.integers(1, 6, rows).astype(float).tolist()),
        "weight": random.uniform(0.5, 2.0, rows),
    }
    return pa.RecordBatch.from_pydict(columns)


def shown_to(records: pa.RecordBatch, row: int, spec: RankerSpec = SMALL_SPEC) -> pa.RecordBatch:
    """The records as if all of them had been shown in one row's request."""
    request = set(_columns(spec, Group.REQUEST))
    viewer = records.take(pa.array([row] * records.num_rows))
    return pa.RecordBatch.from_pydict(
        {name: (viewer if name in request else records).column(name) for name in records.schema.names}
    )


def request_of(
    records: pa.RecordBatch, row: int, spec: RankerSpec = SMALL_SPEC
) -> tuple[dict[str, FeatureValue], list[dict[str, FeatureValue]]]:
    """The request of one row's viewer for all the records' videos, as JSON values."""
    (request,) = _values(records.slice(row, 1).select(_columns(spec, Group.REQUEST)))
    return request, _values(records.select(_columns(spec, Group.CANDIDATE, Group.PAIR)))


def _columns(spec: RankerSpec, *groups: Group) -> list[str]:
    return [f.source_column for f in spec.side(*(side for group in groups for side in SIDES[group]))]


def _values(records: pa.RecordBatch) -> list[dict[str, FeatureValue]]:
    return [
        {
            name: [item for item in value if item is not None] if isinstance(value, list) else value
            for name, value in row.items()
        }
        for row in records.to_pylist()
    ]
