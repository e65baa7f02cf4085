"""Histories that candidates attend to, as the network gets them."""

import numpy as np
import pyarrow as pa

from ranker.features.batch import AttendedHistory
from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.spec_file import parse_spec

SPEC = parse_spec(
    """
name: attended
features:
  - {name: video_id, side: candidate, kind: id, buckets: 1024, dim: 4}
  - {name: query_video_id, side: query, kind: id, shares: video_id}
  - {name: seen, kind: history, of: video_id, length: 3, pool: attention}
tasks: [{name: click, group: engagement, kind: binary}]
score: {terms: [{head: click}]}
""",
    where="test_attended.py",
)
SECOND = 1000


def log(users: list[str], videos: list[str | None], times_s: list[int]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "time_ms": [SECOND * time for time in times_s],
            "user_id": users,
            "video_id": videos,
            "query_video_id": pa.nulls(len(users), pa.string()),
            "click": [0.0] * len(users),
        }
    )


def encoder() -> Encoder:
    """Knows that u saw 1, 2, 3 and 4, one a second from 0 on, and that v saw 2; of x, it is too soon."""
    made = Encoder(SPEC)
    records = log(["u", "u", "u", "u", "v", "x"], ["1", "2", "3", "4", "2", "1"], [0, 1, 2, 3, 4, 5])
    made.encode_examples(records, observe=True, labels=np.zeros((6, 1), np.float32))
    return made


def seen(made: Encoder, records: pa.RecordBatch) -> AttendedHistory:
    (history,) = made.encode_examples(records).groups[Group.PAIR].attended
    return history


def row_of(made: Encoder, video_id: str | None) -> int:
    """The row of a video as a candidate, which its embedding comes from."""
    (row,) = made.encode_request({}, [{"video_id": video_id}]).groups[Group.CANDIDATE].singles[4].flatten()
    return int(row)


def test_the_last_videos_are_there_newest_first_with_their_ages() -> None:
    made = encoder()
    first_age = made.layout.first_row(SPEC.state_features[0])  # type: ignore[arg-type]

    history = seen(made, log(["u", "v", "w"], ["9", "9", "9"], [7, 7, 7]))

    of_u, of_v, of_w = history.history.tolist()
    assert history.entries[of_u].tolist() == [row_of(made, video_id) for video_id in "432"]
    assert (history.ages[of_u] - first_age).tolist() == [2, 2, 2]  # 4, 5 and 6 seconds: from 3 to 7
    assert history.there.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert history.entries[of_v, 0] == row_of(made, "2")
    assert not history.there[of_w].any()
    assert history.candidates.tolist() == [row_of(made, "9")] * 3
    assert history.width == 4


def test_a_missing_candidate_attends_as_a_missing_one() -> None:
    made = encoder()

    assert seen(made, log(["u"], [None], [7])).candidates.tolist() == [row_of(made, None)]
    assert row_of(made, None) == made.layout.first_row(SPEC.features[0])  # type: ignore[arg-type]


def test_rows_of_one_request_share_their_history_and_others_do_not() -> None:
    made = encoder()
    records = log(["u", "u", "v", "v", "u", "u"], ["5", "6", "5", "6", "5", "6"], [7, 7, 7, 7, 7, 99])

    history = seen(made, records)

    assert history.history.tolist() == [0, 0, 1, 1, 2, 3]
    assert history.entries[0].tolist() == history.entries[3].tolist() == history.entries[2].tolist()
    assert history.ages[0].tolist() == history.ages[2].tolist() != history.ages[3].tolist()


def test_a_request_has_one_history_for_all_its_candidates() -> None:
    made = encoder()
    records = made.records[Group.PAIR].of_rows([{"user_id": "v", "video_id": str(i)} for i in range(50)])

    for count in (50, 1, 0):
        (history,) = made.read(Group.PAIR, records[:count], 7 * SECOND).attended
        assert history.entries.shape == (min(count, 1), 3)
        assert history.history.tolist() == [0] * count
        assert history.candidates.tolist() == [row_of(made, str(i)) for i in range(count)]
