"""The ranker that all contenders serve: the paper's size, with random weights.

Shape letters: B rows, T tasks.
"""

from pathlib import Path
from typing import Final

import pyarrow as pa
import torch

from ranker.bundles.bundle import Request, pack
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.features.encoder import Encoder
from ranker.labels.matrix import label_matrix
from ranker.networks.model import RankingModel
from ranker.networks.sharing.layered import LayeredNetwork
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.spec import RankerSpec
from ranker.spec_file import parse_spec

REFERENCE: Final = "reference"
"""The spec's name; one of another name may have layers of other sizes."""
MULTIPLICATIONS: Final = {8: 6_100_000, 4: 3_700_000}
"""Multiplications per candidate by the number of experts; the network must be within 1 %."""

SPEC: Final = """
name: reference
features:
  - {name: user_id, side: user, kind: id, buckets: 16384, dim: 64}
  - {name: country, side: user, kind: category, capacity: 64, dim: 16}
  - {name: device, side: user, kind: category, capacity: 8, dim: 16}
  - {name: age, side: user, kind: number}
  - {name: register_days, side: user, kind: number, transform: log1p}
  - {name: follows, side: user, kind: ids, shares: channel_id}
  - {name: interests, side: user, kind: ids, shares: tags}
  - {name: query_video_id, side: query, kind: id, shares: video_id}
  - {name: query_channel_id, side: query, kind: id, shares: channel_id}
  - {name: query_topic, side: query, kind: category, capacity: 64, dim: 32}
  - {name: query_tags, side: query, kind: ids, shares: tags}
  - {name: query_duration_s, side: query, kind: number, transform: log1p}
  - {name: hour, side: context, kind: category, capacity: 24, dim: 16}
  - {name: tab, side: context, kind: category, capacity: 8, dim: 16}
  - {name: video_id, side: candidate, kind: id, buckets: 65536, dim: 192}
  - {name: channel_id, side: candidate, kind: id, buckets: 8192, dim: 96}
  - {name: topic, side: candidate, kind: category, capacity: 64, dim: 32}
  - {name: language, side: candidate, kind: category, capacity: 32, dim: 16}
  - {name: tags, side: candidate, kind: ids, buckets: 4096, dim: 64}
  - {name: duration_s, side: candidate, kind: number, transform: log1p}
  - {name: age_days, side: candidate, kind: number, transform: log1p}
  - {name: views, side: candidate, kind: number, transform: log1p}
  - {name: like_rate, side: candidate, kind: number}
  - {name: retrieval_score, side: pair, kind: number}
tasks:
  - {name: click, group: engagement, kind: binary}
  - {name: watch_time, group: engagement, kind: regression, transform: log1p, unit: s}
  - {name: like, group: satisfaction, kind: binary}
  - {name: dismiss, group: satisfaction, kind: binary}
  - {name: rating, group: satisfaction, kind: regression, unit: stars}
network: {kind: mmoe, shared: [1024], experts: EXPERTS, expert: [576], tower: [64], linear: true}
training: {embedding_scale: 0.5}
score:
  combine: product
  terms:
    - {head: click, weight: 1.0, offset: 0.01}
    - {head: watch_time, weight: 0.3, transform: log1p, offset: 1.0}
    - {head: like, weight: 0.6, offset: 0.01}
    - {head: rating, weight: 1.0, transform: clip, low: 1.0, high: 5.0}
    - {head: dismiss, weight: -0.6, offset: 0.01}
policies:
  satisfaction: {combine: sum, terms: [{head: like}, {head: dismiss, weight: -1}]}
"""
LEARNING: Final = """
  - {name: channel_rates, kind: rate, of: [channel_id], labels: [click, like], half_lives: [1h, 30d]}
  - {name: user_topic_rates, kind: rate, of: [user_id, topic], labels: [click, rating], prior_strength: 2}
  - {name: clicked_tags, kind: history, of: tags, label: click, length: 12}
  - {name: user_channel_age, kind: age, of: [user_id, channel_id]}
"""
"""Features that learn from the stream, for a ranker with such features; its likes have a label delay."""
LATE: Final = ("{name: like, ", "{name: like, label_wait: 10m, ")
WATERMARK_MS: Final = 1_700_000_000_000
"""Event time of the last row that the ranker learned."""
MEAN: Final = (-1.0, 3.5, -2.5, -3.0, 3.5)
SPREAD: Final = (1.2, 0.8, 1.2, 1.2, 0.6)
"""Mean and standard deviation of the network's outputs by task, similar to those of a trained ranker."""


def reference_spec(experts: int, *, learning: bool = False) -> RankerSpec:
    """Return the spec with this many experts, with or without features that learn from the stream."""
    text = SPEC.replace("EXPERTS", str(experts))
    if learning:
        text = text.replace("\ntasks:", LEARNING.rstrip() + "\ntasks:").replace(*LATE)
    return parse_spec(text, where="reference.py")


def publish(registry: Path, spec: RankerSpec, log: pa.RecordBatch, golden: Request) -> str:
    """Publish the ranker with weights of a fixed seed, and return its version.

    Args:
        registry: The registry's folder.
        spec: The ranker.
        log: Rows for the vocabularies, the statistics, the feature state and the scale of the outputs.
        golden: The golden request.
    """
    torch.manual_seed(0)
    encoder = Encoder(spec)
    encoder.encode_examples(log, observe=True, labels=label_matrix(log, spec.feedback))
    model = RankingModel(spec).eval()
    assert isinstance(spec.network, MMoESpec)
    expected = MULTIPLICATIONS[spec.network.experts]
    of_size = spec.state_features or abs(model.multiplications / expected - 1) <= 0.01
    if spec.name == REFERENCE and not of_size:
        raise ValueError(f"expected {expected:,} multiplications, found {model.multiplications:,}")
    _spread(model, encoder, log)
    manifest = Manifest(
        model_version="reference",
        name=spec.name,
        created_ms=WATERMARK_MS,
        watermark_ms=WATERMARK_MS,
        rows=log.num_rows,
        source="load_tests",
        files={},
    )
    bundles = Registry(str(registry))
    version = bundles.add(pack(manifest, encoder, model, [golden]))
    bundles.make_current(version)
    return version


@torch.no_grad()
def _spread(model: RankingModel, encoder: Encoder, log: pa.RecordBatch) -> None:
    """Draw weights that keep the variance through the layers, and scale the outputs to MEAN and SPREAD."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif not name.startswith("embedding"):
            # nn.Linear has (outputs, inputs), batched layers have (networks, inputs, outputs)
            inputs = parameter.shape[1]
            parameter.normal_(std=(2 / inputs) ** 0.5)
    output_bt = model(encoder.encode_examples(log))
    scale_t = torch.tensor(SPREAD) / output_bt.std(dim=0)
    network = model.network
    assert isinstance(network, LayeredNetwork)
    assert network.linear is not None
    network.towers.output.weight.mul_(scale_t[:, None, None])
    network.linear.linear.weight.mul_(scale_t[:, None])
    network.linear.linear.bias.copy_(torch.tensor(MEAN) - output_bt.mean(dim=0) * scale_t)
