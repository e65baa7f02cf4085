"""A small published ranker with weights drawn at random: enough to be ranked by."""

from pathlib import Path

import pyarrow as pa
import torch

from ranker.bundles.bundle import Request, pack
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.features.encoder import Encoder
from ranker.networks.model import RankingModel
from ranker.spec_file import parse_spec

SPEC = parse_spec(
    """
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
tasks:
  - {name: click, group: engagement, kind: binary, position_bias: true}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s}
  - {name: like, group: satisfaction, kind: binary}
network: {kind: mmoe, shared: [32], experts: 3, expert: [16], tower: [8]}
score:
  combine: product
  terms: [{head: click}, {head: watch_time, transform: log1p, offset: 1}, {head: like, offset: 1, weight: 4}]
""",
    where="small_ranker.py",
)
COLUMNS = {
    "user_id": ["712", "713"],
    "age": [20.0, 60.0],
    "query_video_id": ["1", "2"],
    "query_topic": ["news", "music"],
    "hour": ["8", "21"],
    "video_id": ["3", "4"],
    "topic": ["sport", "news"],
    "tags": [["a"], ["b", "c"]],
    "duration_s": [5.0, 300.0],
    "affinity": [0.1, 0.9],
    "position": ["1", "2"],
}


def publish_small_ranker(folder: Path) -> str:
    """Publish the ranker to a registry in the folder; return its version."""
    torch.manual_seed(1)
    encoder = Encoder(SPEC)
    encoder.encode_examples(pa.RecordBatch.from_pydict(COLUMNS), observe=True)
    model = RankingModel(SPEC)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    manifest = Manifest(
        model_version="small-1",
        name="small",
        created_ms=1_700_000_000_000,
        watermark_ms=1_690_000_000_000,
        rows=2,
        source="small_ranker.py",
        metrics={"click": {"auc": 0.7}},
        files={},
    )
    golden = Request(request={"age": 30}, candidates=[{"video_id": "3"}, {"video_id": "4"}])
    return Registry(str(folder)).publish(pack(manifest, encoder, model.eval(), [golden]))
