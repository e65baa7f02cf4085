"""Write a small made-up log: four days of a feed whose viewers each like one of five tags.

python examples/made_up_log.py events

The folder then holds a Parquet file a day, `users.parquet` and `videos.parquet`, with the columns that
`examples/my_feed.yaml` names.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DAY_MS = 86_400_000
FIRST_DAY_MS = 1_777_593_600_000  # 2026-05-01, UTC
DAYS, REQUESTS_A_DAY, SHOWN = 4, 500, 10
VIEWERS, VIDEOS, AUTHORS = 50, 120, 12
TAGS = np.array(["music", "sport", "news", "games", "food"])
COUNTRIES = np.array(["de", "fr", "in"])


def write_log(folder: Path, seed: int = 0) -> int:
    """Write the log and both tables; return the number of impressions."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    country = COUNTRIES[rng.integers(0, len(COUNTRIES), VIEWERS)]
    favourite = rng.integers(0, len(TAGS), VIEWERS)
    author = rng.integers(0, AUTHORS, VIDEOS)
    tag = rng.integers(0, len(TAGS), VIDEOS)
    duration_s = np.round(rng.lognormal(3.5, 0.7, VIDEOS), 1)
    user_ids = np.array([f"u{i}" for i in range(VIEWERS)])
    video_ids = np.array([f"v{i}" for i in range(VIDEOS)])
    author_ids = np.array([f"a{i}" for i in author])
    tags = [[name] for name in TAGS[tag]]
    pq.write_table(pa.table({"user_id": user_ids, "country": country}), folder / "users.parquet")
    videos = {"video_id": video_ids, "author_id": author_ids, "tags": tags, "duration_s": duration_s}
    pq.write_table(pa.table(videos), folder / "videos.parquet")

    rows = REQUESTS_A_DAY * SHOWN
    for day in range(DAYS):
        request_ms = np.sort(rng.integers(0, DAY_MS, REQUESTS_A_DAY)) + FIRST_DAY_MS + day * DAY_MS
        viewer = np.repeat(rng.integers(0, VIEWERS, REQUESTS_A_DAY), SHOWN)
        video = rng.integers(0, VIDEOS, rows)
        position = np.tile(np.arange(1, SHOWN + 1), REQUESTS_A_DAY)
        fits = favourite[viewer] == tag[video]
        click = rng.random(rows) < np.where(fits, 0.6, 0.15) / np.sqrt(position)
        like = click & (rng.random(rows) < np.where(fits, 0.4, 0.05))
        dismiss = ~click & (rng.random(rows) < np.where(fits, 0.01, 0.06))
        watched = click * duration_s[video] * rng.random(rows)
        time_ms = np.repeat(request_ms, SHOWN)
        log = {
            "time_ms": time_ms,
            "user_id": user_ids[viewer],
            "country": country[viewer],
            "hour": time_ms // 3_600_000 % 24,
            "video_id": video_ids[video],
            "author_id": author_ids[video],
            "tags": [tags[i] for i in video],
            "duration_s": duration_s[video],
            "position": position,
            "click": click.astype(np.float32),
            "watch_time": watched.astype(np.float32),
            "like": like.astype(np.float32),
            "dismiss": dismiss.astype(np.float32),
        }
        pq.write_table(pa.table(log), folder / f"2026-05-0{day + 1}.parquet")
    return DAYS * rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(f"wrote {write_log(parser.parse_args().folder):,} impressions")
