"""A small published ranker with weights drawn at random: enough to be ranked by."""

from pathlib import Path

import pyarrow as pa

from ranker.bundles.bundle import Request, pack
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.events import USER_ID, VIDEO_ID
from ranker.features.encoder import Encoder
from ranker.features.stored import user_records, video_records
from ranker.spec_file import parse_spec
from ranker.store.records import RecordWriter
from tests.ranker.bundles.small_bundle import publish
from tests.ranker.networks.random_model import build

YAML = """
name: small
features:
  - {name: user_id, side: user, kind: id, buckets: 64, dim: 8}
  - {name: age, side: user, kind: number}
  - {name: query_video_id, side: query, kind: id, shares: video_id}
  - {name: query_topic, side: query, kind: category, values: [news, music, sport]}
  - {name: hour, side: context, kind: category, capacity: 24}
  - {name: video_id, side: candidate, kind: id, buckets: 1024, dim: 8}
  - {name: topic, side: candidate, kind: category, values: [news, music, sport]}
  - {name: tags, side: candidate, kind: ids, buckets: 32, dim: 8}
  - {name: duration_s, side: candidate, kind: number, transform: log1p}
  - {name: affinity, side: pair, kind: number}
  - {name: position, side: bias, kind: category, capacity: 8}
  - {name: user_topic, kind: cross, of: [user_id, topic], buckets: 64, dim: 8}
tasks:
  - {name: click, group: engagement, kind: binary, position_bias: true}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s}
  - {name: like, group: satisfaction, kind: binary}
network: {kind: mmoe, shared: [32], experts: 3, expert: [16], tower: [8]}
score:
  combine: product
  terms: [{head: click}, {head: watch_time, transform: log1p, offset: 1}, {head: like, offset: 1, weight: 4}]
policies:
  likes: {combine: sum, terms: [{head: like}]}
"""
SPEC = parse_spec(YAML, where="small_ranker.py")
OTHER_RECORDS_SPEC = parse_spec(
    YAML.replace(
        "{name: tags,", "{name: author, side: candidate, kind: id, buckets: 64, dim: 8}\n  - {name: tags,"
    ),
    where="small_ranker.py",
)
"""The same with one more column of a video, so that its records are others."""
COLUMNS = {
    "user_id": ["712", "713"],
    "age": [20.0, 60.0],
    "query_video_id": ["1", "2"],
    "query_topic": ["news", "music"],
    "hour": ["8", "21"],
    "video_id": ["3", "4"],
    "topic": ["sport", "news"],
    "author": ["x", "y"],
    "tags": [["a"], ["b", "c"]],
    "duration_s": [5.0, 300.0],
    "affinity": [0.1, 0.9],
    "position": ["1", "2"],
}


def packed_ranker(*, seed=1, spec=SPEC, records=None):
    """The files of a bundle whose every weight matters; another seed draws others.

    Args:
        seed: Of the weights.
        spec: Its description.
        records: What its encoder has seen.
    """
    encoder = Encoder(spec)
    encoder.encode_examples(records or pa.RecordBatch.from_pydict(COLUMNS), observe=True)
    manifest = Manifest(
        model_version=f"small-{seed}",
        name="small",
        created_ms=1_700_000_000_000 + seed,
        watermark_ms=1_690_000_000_000,
        rows=2,
        source="small_ranker.py",
        metrics={"click": {"auc": 0.7}},
        files={},
    )
    golden = Request(
        time_ms=manifest.watermark_ms,
        request={"age": 30},
        candidates=[{"video_id": "3"}, {"video_id": "4"}],
    )
    return pack(manifest, encoder, build(spec, seed), [golden])


def publish_small_ranker(folder: Path, **changes) -> str:
    """Publish the ranker to a registry in the folder; return its version."""
    return publish(Registry(str(folder)), packed_ranker(**changes))


def store_rows(client, *, videos=(), users=(), spec=SPEC):
    """Store features of videos and users, given as dicts of columns with their ids."""
    video_layout, user_layout = video_records(spec), user_records(spec)
    writer = RecordWriter(client, users=user_layout.digest, videos=video_layout.digest)
    writer.write_videos([row[VIDEO_ID] for row in videos], video_layout.of_rows(videos))
    writer.write_users([row[USER_ID] for row in users], user_layout.of_rows(users))
