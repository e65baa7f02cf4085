"""From a made-up log to a ranked list, in one process.

python examples/train_and_rank.py [FOLDER]
"""

import sys
from pathlib import Path

import pyarrow.parquet as pq
from made_up_log import write_log

from watchnext import Ranker, evaluate, train

SPEC = Path(__file__).with_name("my_feed.yaml")
UNTIL_MS = 1_777_852_800_000  # 2026-05-04, UTC

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "made-up")
print(f"{write_log(folder / 'events'):,} impressions")
train(SPEC, folder / "events", folder / "registry", until_ms=UNTIL_MS)
for head, figures in evaluate(folder / "registry", folder / "events", replicates=200).heads.items():
    if figures.auc is not None:
        print(f"{head}: AUC {figures.auc:.3f} {figures.auc_ci} on {figures.rows:,} rows")

ranker = Ranker.load(folder / "registry")
videos = pq.read_table(folder / "events" / "videos.parquet")
ranker.know_users(pq.read_table(folder / "events" / "users.parquet"))
ranker.know_videos(videos)
best = ranker.rank("u7", videos["video_id"].to_pylist(), context={"hour": 20}, limit=5, explain=True)
for item in best.items:
    print(item.position, item.id, f"{item.score:.3f}", item.contributions)
