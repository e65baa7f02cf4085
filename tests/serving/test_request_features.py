import pytest

from ranker.errors import FeatureError
from serving.feature_store import Stored
from serving.problems import InvalidRequestError
from serving.request_features import RequestFeatures
from serving.schemas import RankRequest
from tests.serving.small_ranker import SPEC

FEATURES = RequestFeatures(SPEC)


def request(**changes):
    body = {"user": {"id": "u"}, "query_video_id": "q", "candidates": [{"id": "a"}, {"id": "b"}]}
    return RankRequest.model_validate({**body, **changes})


def test_stored_columns_reach_the_model_under_its_names():
    stored = Stored({"age": 30}, {"topic": "news", "duration_s": 9.0}, [{"topic": "music"}, None])
    columns, candidates = FEATURES.join(request(context={"hour": 21}), stored)
    assert columns == {
        "user_id": "u",
        "query_video_id": "q",
        "age": 30,
        "query_topic": "news",
        "hour": 21,
    }
    assert candidates == [{"video_id": "a", "topic": "music"}, {"video_id": "b"}]


def test_the_requests_columns_replace_the_stored_ones_one_by_one():
    body = request(
        user={"id": "u", "features": {"age": 31}},
        query_features={"topic": None},
        candidates=[{"id": "a", "features": {"duration_s": 5}}],
    )
    stored = Stored({"age": 30}, {"topic": "news"}, [{"topic": "music", "duration_s": 9.0}])
    columns, candidates = FEATURES.join(body, stored)
    assert columns["age"] == 31
    assert columns["query_topic"] is None
    assert candidates == [{"video_id": "a", "topic": "music", "duration_s": 5}]


def test_without_the_store_only_the_request_speaks():
    columns, candidates = FEATURES.join(request(), None)
    assert columns == {"user_id": "u", "query_video_id": "q"}
    assert candidates == [{"video_id": "a"}, {"video_id": "b"}]


def test_the_unknown_are_those_of_whom_nobody_knows_a_feature():
    body = request(candidates=[{"id": "a"}, {"id": "b", "features": {"topic": "news"}}, {"id": "c"}])
    unknown = FEATURES.unknown(body, Stored(None, None, [None, None, {}]))
    assert unknown.user is True
    assert unknown.videos == ["a", "q"]


def test_who_is_stored_or_described_is_known():
    body = request(query_features={"topic": "news"})
    unknown = FEATURES.unknown(body, Stored({}, None, [{}, {}]))
    assert unknown.user is False
    assert unknown.videos == []


def test_the_query_video_is_named_once_where_it_is_a_candidate_too():
    body = request(query_video_id="a")
    assert FEATURES.unknown(body, None).videos == ["a", "b"]


def test_every_column_that_the_model_has_not_is_refused_with_those_it_has():
    body = request(
        user={"id": "u", "features": {"height": 1}},
        query_features={"query_topic": "news"},
        context={"hour": 1, "position": 1},
        candidates=[{"id": "a"}, {"id": "b", "features": {"duraton_s": 1, "video_id": "c"}}],
    )
    with pytest.raises(InvalidRequestError) as caught:
        FEATURES.check(body)
    places = dict(caught.value.places)
    assert list(places) == [
        "/user/features/height",
        "/query_features/query_topic",
        "/context/position",
        "/candidates/1/features/duraton_s",
        "/candidates/1/features/video_id",
    ]
    assert "(affinity, duration_s, tags, topic)" in places["/candidates/1/features/duraton_s"]
    assert "(topic)" in places["/query_features/query_topic"]


def test_a_candidate_named_twice_is_refused_with_both_places():
    with pytest.raises(InvalidRequestError) as caught:
        FEATURES.check(request(candidates=[{"id": "7"}, {"id": "8"}, {"id": 7}]))
    assert list(caught.value.places) == [
        ("/candidates/2/id", "expected each video once, found /candidates/0/id again")
    ]


@pytest.mark.parametrize(
    ("changes", "column", "row", "pointer"),
    [
        ({"user": {"id": "u", "features": {"age": "x"}}}, "age", 0, "/user/features/age"),
        ({"query_features": {"topic": []}}, "query_topic", 0, "/query_features/topic"),
        ({"context": {"hour": []}}, "hour", 0, "/context/hour"),
        (
            {"candidates": [{"id": "a"}, {"id": "b", "features": {"tags": 1}}]},
            "tags",
            1,
            "/candidates/1/features/tags",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_found_in_the_request(changes, column, row, pointer):
    error = FeatureError(f"{column}: expected better in row {row}", feature=column, row=row)
    place = FEATURES.carried(request(**changes), error)
    assert place == (pointer, "expected better")


def test_a_stored_value_of_the_wrong_type_is_not_found_in_the_request():
    error = FeatureError("tags: expected better in row 0", feature="tags", row=0)
    body = request(candidates=[{"id": "a"}, {"id": "b", "features": {"tags": ["x"]}}])
    assert FEATURES.carried(body, error) is None
