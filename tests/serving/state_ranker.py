"""A small published ranker whose features learn from the stream, and a log for them."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ranker.bundles.bundle import Request, pack
from ranker.bundles.manifest import Manifest
from ranker.bundles.registry import Registry
from ranker.features.encoder import Encoder
from ranker.labels.matrix import label_matrix
from ranker.spec_file import parse_spec
from tests.ranker.bundles.small_bundle import publish
from tests.ranker.networks.random_model import build
from tests.serving.small_ranker import YAML

FIRST_MS = 1_700_000_000_000
STATE_YAML = YAML.replace(
    "tasks:\n",
    """\
  - {name: user_rates, kind: rate, of: [user_id], labels: [click, watch_time], half_lives: [1h, 1d]}
  - {name: video_rates, kind: rate, of: [video_id], labels: [click, like], half_lives: [1d]}
  - {name: user_tag_rates, kind: rate, of: [user_id, tags], labels: [click], prior_strength: 2}
  - {name: seen, kind: age, of: [user_id, video_id]}
  - {name: last_seen, kind: age, of: [user_id]}
  - {name: clicked, kind: history, of: video_id, label: click, length: 4}
tasks:
""",
).replace("kind: binary,", "kind: binary, label_wait: 60s,")
STATE_SPEC = parse_spec(STATE_YAML, where="state_ranker.py")


def log_of(rows, *, first_ms=FIRST_MS, seed=0):
    """Impressions, a second or so apart, with every column and label of the spec."""
    random = np.random.default_rng(seed)
    videos = random.integers(0, 40, rows)
    columns = {
        "time_ms": first_ms + np.cumsum(random.integers(0, 2_000, rows)),
        "user_id": [f"u{i}" for i in random.integers(0, 8, rows)],
        "age": random.integers(18, 80, rows).astype(float),
        "query_video_id": [f"v{i}" for i in random.integers(0, 40, rows)],
        "query_topic": random.choice(["news", "music", "sport"], rows).tolist(),
        "hour": random.integers(0, 24, rows),
        "video_id": [f"v{i}" for i in videos],
        "topic": [["news", "music", "sport"][i % 3] for i in videos],
        "tags": [[f"t{i % 5}", f"t{i % 7}"] for i in videos],
        "duration_s": videos * 3.0,
        "affinity": random.normal(size=rows),
        "position": random.integers(1, 9, rows),
        "click": (random.random(rows) < 0.4).astype(float),
        "watch_time": random.gamma(2.0, 20.0, rows),
        "like": (random.random(rows) < 0.1).astype(float),
    }
    return pa.RecordBatch.from_pydict(columns)


def packed_state_ranker(log, *, seed=1, spec=STATE_SPEC):
    """The files of a bundle with random weights whose state has seen a log."""
    encoder = Encoder(spec)
    encoder.encode_examples(log, observe=True, labels=label_matrix(log, spec.feedback))
    watermark_ms = log.column("time_ms")[-1].as_py()
    manifest = Manifest(
        model_version=f"state-{seed}",
        name="small",
        created_ms=watermark_ms + seed,
        watermark_ms=watermark_ms,
        rows=log.num_rows,
        source="state_ranker.py",
        files={},
    )
    golden = Request(time_ms=watermark_ms, request={"user_id": "u1"}, candidates=[{"video_id": "v3"}])
    return pack(manifest, encoder, build(spec, seed), [golden])


def publish_state_ranker(folder: Path, log, **changes) -> str:
    """Publish such a bundle to a registry in the folder; return its version."""
    return publish(Registry(str(folder)), packed_state_ranker(log, **changes))
