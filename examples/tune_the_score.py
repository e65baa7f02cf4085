"""One request under three sets of score weights: how the order changes, and which head decides it.

python examples/tune_the_score.py [FOLDER]

Predictions do not depend on the score, so the current bundle predicts once, and a `ScorePolicy` scores its
predictions again: other weights need no training. The order depends only on how a head's contributions differ
between candidates, so a head's share is the spread of its contributions over the sum of all spreads.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from made_up_log import write_log

from ranker.score.base import ScoreSpec
from ranker.score.policy import ScorePolicy
from watchnext import Ranker, Registry, train

WEIGHTS = {  # factors of the spec's weights, by head
    "as in the spec": {},
    "watch time first": {"watch_time": 6.0, "like": 0.25, "dismiss": 0.25},
    "no bait": {"click": 0.0, "like": 3.0, "dismiss": 3.0},
}
SHOWN = 5


def reweighted(spec: ScoreSpec, factors: dict[str, float]) -> ScoreSpec:
    """Multiply the weights of a score spec by head."""
    terms = [
        term.model_copy(update={"weight": term.weight * factors.get(term.head, 1.0)}) for term in spec.terms
    ]
    return spec.model_copy(update={"terms": tuple(terms)})


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "made-up")
registry = Registry(str(folder / "registry"))
if registry.current_or_none() is None:
    write_log(folder / "events")
    train(Path(__file__).with_name("my_feed.yaml"), folder / "events", registry.url)

bundle = registry.read()
ranker = Ranker(bundle)
videos = pq.read_table(folder / "events" / "videos.parquet")
ranker.know_users(pq.read_table(folder / "events" / "users.parquet"))
ranker.know_videos(videos)
items = ranker.rank("u7", videos["video_id"].to_pylist(), context={"hour": 20}).items
ids = [item.id for item in items]
tasks = [task.name for task in bundle.spec.tasks]
predictions = np.array([[item.predictions[task] for task in tasks] for item in items])  # (C, T)

for name, factors in WEIGHTS.items():
    policy = ScorePolicy(name, reweighted(bundle.spec.score, factors), tasks)
    scored = policy.score(predictions)
    order = scored.best()
    moved = np.abs(np.argsort(order) - np.arange(len(ids))).mean()
    spread = scored.contributions.std(axis=0)
    shares = dict(zip(scored.heads, spread / spread.sum(), strict=True))
    print(f"\n{name}, score {policy.version}: {moved:.1f} positions moved on average")
    print("decided by " + ", ".join(f"{head} {share:.0%}" for head, share in shares.items()))
    for position, index in enumerate(order[:SHOWN], start=1):
        parts = dict(zip(scored.heads, scored.contributions[index], strict=True))
        shown = " ".join(f"{head} {part:+.2f}" for head, part in parts.items())
        print(f"{position}. {ids[index]:5} was {index + 1:3}, score {scored.score[index]:.2f}: {shown}")
