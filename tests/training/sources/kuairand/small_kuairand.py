"""A folder in KuaiRand's layout with a few invented rows."""

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa

from training.sources.kuairand.source import KuaiRandSource

EXCERPT = "log_standard_4_25_to_5_04_pure"

LOG_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)

USERS = """\
user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,\
follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,\
register_days_range,onehot_feat0,onehot_feat1,onehot_feat2,onehot_feat3,onehot_feat4,onehot_feat5,onehot_feat6,\
onehot_feat7,onehot_feat8,onehot_feat9,onehot_feat10,onehot_feat11,onehot_feat12,onehot_feat13,onehot_feat14,\
onehot_feat15,onehot_feat16,onehot_feat17
1,full_active,0,1,1,514,500+,150,"[100,1k)",34,"[30,60)",799,730+,1,1,29,949,1.0,0,0,14,135,6,3,0,0.0,1.0,0,0,0,0
2,UNKNOWN,0,-124,0,8,"(0,10]",26,"[10,100)",3,"[1,5)",231,181-365,1,0,2,1176,,0,0,31,275,5,2,2,0.0,0,0,1.0,0,
"""

VIDEOS = """\
video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,\
music_id,music_type,tag
10,7349781,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,9155697141,9.0,"39,68"
11,0,UNKNOWN,2022-04-09,UNKNOWN,0.0,,720.0,1280.0,0,,
12,5,AD,2022-04-11,Web,0.0,0.0,270.0,448.0,34291,4.0,1
"""


def impression(user_id: int, video_id: int, time_ms: int, **other: Any) -> dict[str, Any]:
    """A row of the log; what is not given is 0."""
    nothing = dict.fromkeys(LOG_HEADER.split(","), 0)
    return nothing | {"user_id": user_id, "video_id": video_id, "time_ms": time_ms} | other


def log_csv(rows: list[dict[str, Any]]) -> str:
    lines = [",".join(map(str, row.values())) for row in rows]
    return "\n".join([LOG_HEADER, *lines, ""])


def write_kuairand(
    folder: Path, rows: list[dict[str, Any]], *, log: str = EXCERPT, gzipped: bool = False
) -> Path:
    """Write the log, the users and the videos; returns the log's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("user_features_pure", USERS),
        ("video_features_basic_pure", VIDEOS),
        (log, log_csv(rows)),
    ):
        path = folder / (f"{name}.csv.gz" if gzipped else f"{name}.csv")
        path.write_bytes(gzip.compress(text.encode()) if gzipped else text.encode())
    return path


def table_of(source: KuaiRandSource, rows: int = 10_000, **bounds: int) -> pa.Table:
    """All that the source yields."""
    return pa.Table.from_batches(source.records(rows, **bounds), schema=source.schema)
