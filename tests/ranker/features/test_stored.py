"""What is stored of viewers and videos."""

import numpy as np

from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.features.stored import user_records, video_records
from tests.ranker.small_spec import SMALL_SPEC


def test_a_viewer_is_stored_with_the_columns_of_the_user_alone() -> None:
    assert user_records(SMALL_SPEC).columns == ("user_id", "country", "interests", "age")


def test_a_video_is_stored_once_for_both_of_its_parts() -> None:
    assert video_records(SMALL_SPEC).columns == ("video_id", "tags", "topic", "duration_s")


def test_the_query_video_is_read_from_a_videos_record() -> None:
    video = {"video_id": "7", "tags": ["a", "b"], "duration_s": 9.0, "topic": "news"}
    query = Encoder(SMALL_SPEC).records[Group.REQUEST]
    stored = video_records(SMALL_SPEC).of_rows([video])

    words = query.missing(1)
    mine, theirs = query.shared_words(video_records(SMALL_SPEC), prefix="query_")
    words[:, mine] = stored[:, theirs]

    expected = {"query_video_id": "7", "query_tags": ["a", "b"], "query_duration_s": 9.0}
    np.testing.assert_array_equal(words, query.of_rows([expected]))
