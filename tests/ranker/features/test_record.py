import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import FeatureError
from ranker.features.hashing import MAX_BYTES
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.id import IdFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.record import MISSING_LIST, RecordLayout
from ranker.features.sides import Side
from tests.ranker.small_spec import SMALL_SPEC, random_records

CANDIDATE, QUERY = Side.CANDIDATE, Side.QUERY
VIDEO = IdFeature(kind="id", name="video_id", side=CANDIDATE)
QUERY_VIDEO = IdFeature(kind="id", name="query_video_id", side=QUERY)
TAGS = IdsFeature(kind="ids", name="tags", side=CANDIDATE, max_items=3)
QUERY_TAGS = IdsFeature(kind="ids", name="query_tags", side=QUERY, max_items=3)
DURATION = NumberFeature(kind="number", name="duration_s", side=CANDIDATE)
LOG_DURATION = NumberFeature(
    kind="number", name="log", column="duration_s", side=CANDIDATE, transform="log1p"
)


def layout(*features: ColumnFeature, seed: int = 0) -> RecordLayout:
    return RecordLayout(features, seed=seed)


def test_features_that_read_a_column_alike_share_its_words() -> None:
    shared = layout(VIDEO, DURATION, LOG_DURATION, TAGS)

    assert shared.words == 1 + 1 + (1 + 3)
    assert shared.first_word(LOG_DURATION) == shared.first_word(DURATION) == 1


def test_a_log_and_a_request_make_the_same_records() -> None:
    records = random_records(60)
    both = RecordLayout(SMALL_SPEC.side(*Side), seed=7)

    np.testing.assert_array_equal(both.of_batch(records), both.of_rows(records.to_pylist()))


def test_records_with_their_texts_are_both_as_by_themselves() -> None:
    both = RecordLayout(SMALL_SPEC.side(*Side), seed=7)
    records = random_records(60)
    rows = records.to_pylist()

    words, texts = both.of_rows_with_texts(rows, without={"user_id", "topic"})

    np.testing.assert_array_equal(words, both.of_rows(rows))
    assert texts == both.texts_of_batch(records, without={"user_id", "topic"})
    assert texts.items() < both.of_rows_with_texts(rows)[1].items()
    assert both.of_rows_with_texts(rows, without=both.columns)[1] == {}


def test_nothing_known_is_a_record_of_missing_values() -> None:
    both = RecordLayout(SMALL_SPEC.side(*Side), seed=7)

    np.testing.assert_array_equal(both.missing(2), both.of_rows([{}, {}]))


def test_a_long_list_is_cut_and_a_missing_one_is_not_an_empty_one() -> None:
    words = layout(TAGS).of_rows(
        [{"tags": ["a", "b", "c", "d"]}, {"tags": ["a", "b", "c"]}, {"tags": []}, {}]
    )

    assert words[:, 0].tolist() == [3, 3, 0, int(MISSING_LIST)]
    assert (words[0] == words[1]).all()
    assert len(set(words[0, 1:].tolist())) == 3
    assert not words[2:, 1:].any()


def test_numbers_keep_every_bit() -> None:
    values = [0.1, -1e300, 5e-324, 0.0]

    words = layout(DURATION).of_rows([{"duration_s": value} for value in values])

    assert words[:, 0].view(np.float64).tolist() == values


@given(st.lists(st.text(max_size=20), unique=True))
def test_no_id_looks_like_a_missing_one_or_like_another(ids: list[str]) -> None:
    words = layout(VIDEO).of_rows([{"video_id": one} for one in ids])

    assert 0 not in words
    assert len(set(words[:, 0].tolist())) == len(ids)


def test_the_digest_tells_layouts_apart() -> None:
    digests = {
        one.digest
        for one in (
            layout(VIDEO, TAGS),
            layout(TAGS, VIDEO),
            layout(VIDEO),
            layout(VIDEO, TAGS, seed=1),
            layout(VIDEO, TAGS.model_copy(update={"max_items": 4})),
        )
    }

    assert len(digests) == 5
    assert layout(VIDEO, TAGS).digest == layout(VIDEO, TAGS).digest


def test_a_query_reads_the_words_of_its_video() -> None:
    query, video = layout(QUERY_TAGS, QUERY_VIDEO), layout(VIDEO, TAGS, DURATION)

    mine, theirs = query.shared_words(video, prefix="query_")

    row = {"video_id": "5", "tags": ["a", "b"], "duration_s": 3.0}
    words = query.missing(1)
    words[:, mine] = video.of_rows([row])[:, theirs]
    expected = query.of_rows([{"query_video_id": "5", "query_tags": ["a", "b"]}])
    np.testing.assert_array_equal(words, expected)


def test_columns_without_the_prefix_are_not_shared() -> None:
    mine, theirs = layout(VIDEO).shared_words(layout(VIDEO), prefix="query_")

    assert (len(mine), len(theirs)) == (0, 0)


@pytest.mark.parametrize(
    ("feature", "column"),
    [
        (VIDEO, pa.array(["a", None, "é" * (MAX_BYTES // 2 + 1)])),
        (TAGS, pa.array([["a", "b"], None, ["c", "é" * (MAX_BYTES // 2 + 1)]])),
    ],
)
def test_an_id_that_is_too_long_is_named_with_its_row(feature: ColumnFeature, column: pa.Array) -> None:
    batch = pa.RecordBatch.from_arrays([column], [feature.source_column])

    message = f"{feature.name}: expected an id of at most {MAX_BYTES} bytes, found 1026 in row 2"
    with pytest.raises(FeatureError, match=message) as error:
        layout(feature).of_batch(batch)

    assert (error.value.feature, error.value.row) == (feature.name, 2)


def test_an_id_of_the_greatest_length_is_kept() -> None:
    assert layout(VIDEO).of_rows([{"video_id": "é" * (MAX_BYTES // 2)}]).all()
