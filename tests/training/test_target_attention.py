"""What attending to the history is good for: to see that a candidate is like something in it."""

import numpy as np
import pyarrow as pa

from ranker.metrics.exact import auc
from ranker.spec_file import parse_spec
from training.trainer import Trainer

ROWS, BATCH = 10_000, 64
YAML = """
name: again
features:
  - {name: video_id, side: candidate, kind: id, buckets: 64, dim: 8}
  - {name: seen, kind: history, of: video_id, length: 5, pool: POOL}
tasks: [{name: click, group: engagement, kind: binary}]
network: {kind: shared_bottom, shared: [32], bottom: [31], tower: [8]}
training: {batch_size: 64, learning_rate: 0.01}
score: {terms: [{head: click}]}
"""


def shown_again() -> pa.RecordBatch:
    """A log in which viewers click on what they saw among the last five videos, and on nothing else."""
    random = np.random.default_rng(0)
    viewers = random.integers(0, 50, ROWS)
    last: list[list[int]] = [[] for _ in range(50)]
    videos, clicks = [], []
    for viewer in viewers.tolist():
        seen = last[viewer]
        again = bool(seen) and random.random() < 0.4
        video = int(random.choice(seen) if again else random.integers(0, 30))
        videos.append(video)
        clicks.append(float(video in seen))
        last[viewer] = [video, *seen][:5]
    times = np.arange(ROWS) * 1000
    return pa.RecordBatch.from_pydict(
        {"time_ms": times, "user_id": viewers, "video_id": videos, "click": clicks}
    )


def progressive_auc(pool: str, records: pa.RecordBatch) -> float:
    """AUC of the last quarter's predictions, each made before its row was learned."""
    trainer = Trainer(parse_spec(YAML.replace("POOL", pool), where="test_target_attention.py"), seed=0)
    predictions = np.concatenate(
        [trainer.step(records.slice(start, BATCH)).predictions[:, 0] for start in range(0, ROWS, BATCH)]
    )
    quarter = slice(-ROWS // 4, None)
    return auc(records.column("click").to_numpy()[quarter], predictions[quarter])


def test_a_match_of_candidate_and_history_is_learned_by_attention_and_not_by_the_mean() -> None:
    records = shown_again()

    assert progressive_auc("mean", records) < 0.7
    assert progressive_auc("attention", records) > 0.9
