import weakref

import numpy as np
import pytest

from ranker.errors import InvalidRequestError
from ranker.features.encoder import Encoder
from ranker.features.record import RecordLayout
from ranker.features.sides import Group
from serving.model import request_features
from serving.model.request_features import RequestReader
from serving.requests import RankRequest
from tests.serving.small_ranker import SPEC

ENCODER = Encoder(SPEC)
READER = RequestReader(ENCODER)


def request(**changes):
    body = {"user": {"id": "u"}, "query_video_id": "q", "candidates": [{"id": "a"}, {"id": "b"}]}
    return RankRequest.model_validate({**body, **changes})


def refused(**changes):
    with pytest.raises(InvalidRequestError) as caught:
        READER.read(request(**changes))
    return caught.value.mistakes


def put_into(carried, words):
    for one in carried:
        one.apply_to(words)
    return words


def known(group, rows):
    return ENCODER.records[group].of_rows(rows)


def test_the_requests_columns_reach_the_model_under_its_names():
    records = READER.read(
        request(
            user={"id": "u", "features": {"age": 31}}, query_features={"topic": "news"}, context={"hour": 21}
        )
    )
    expected = {"user_id": "u", "age": 31, "query_video_id": "q", "query_topic": "news", "hour": 21}
    empty = ENCODER.records[Group.REQUEST].missing(1)
    np.testing.assert_array_equal(put_into(records.request, empty), known(Group.REQUEST, [expected]))
    assert records.candidates == records.pairs == ()


def test_the_requests_columns_replace_the_stored_ones_one_by_one():
    stored = {"user_id": "u", "query_video_id": "q", "age": 30, "query_topic": "news", "hour": 8}
    records = READER.read(request(query_features={"topic": None}))
    expected = {**stored, "query_topic": None}
    found = put_into(records.request, known(Group.REQUEST, [stored]))
    np.testing.assert_array_equal(found, known(Group.REQUEST, [expected]))


def test_each_candidate_is_given_what_it_carries_and_nothing_else():
    candidates = [
        {"id": "a", "features": {"duration_s": 5, "topic": "news"}},
        {"id": "b"},
        {"id": "c", "features": {"tags": ["x", 7]}},
        {"id": "d", "features": {"topic": None, "duration_s": 6.5}},
        {"id": "e", "features": {}},
    ]
    stored = [{"video_id": name, "topic": "music", "tags": ["y"], "duration_s": 1.0} for name in "abcde"]
    expected = [
        {**row, **candidate.get("features", {})} for row, candidate in zip(stored, candidates, strict=True)
    ]
    found = put_into(READER.read(request(candidates=candidates)).candidates, known(Group.CANDIDATE, stored))
    np.testing.assert_array_equal(found, known(Group.CANDIDATE, expected))


def test_values_of_pairs_go_to_the_pairs():
    candidates = [{"id": "a"}, {"id": "b", "features": {"affinity": 0.5}}]
    records = READER.read(request(candidates=candidates))
    assert records.candidates == ()
    found = put_into(records.pairs, ENCODER.records[Group.PAIR].missing(2))
    np.testing.assert_array_equal(found, known(Group.PAIR, [{}, {"affinity": 0.5}]))


def test_every_column_that_the_model_has_not_is_refused_with_those_it_has():
    places = dict(
        refused(
            user={"id": "u", "features": {"height": 1}},
            query_features={"query_topic": "news"},
            context={"hour": 1, "position": 1},
            candidates=[{"id": "a"}, {"id": "b", "features": {"duraton_s": 1, "video_id": "c"}}],
        )
    )
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
    assert list(refused(candidates=[{"id": "7"}, {"id": "8"}, {"id": 7}])) == [
        ("/candidates/2/id", "expected each video once, found /candidates/0/id again")
    ]


LONG = "x" * 1025


@pytest.mark.parametrize(
    ("changes", "pointer", "detail"),
    [
        (
            {"user": {"id": "u", "features": {"age": "x"}}},
            "/user/features/age",
            "expected a finite number, found 'x'",
        ),
        (
            {"query_features": {"topic": []}},
            "/query_features/topic",
            "expected a string, a number or true/false, found []",
        ),
        ({"context": {"hour": []}}, "/context/hour", "expected a string, a number or true/false, found []"),
        (
            {"candidates": [{"id": "a"}, {"id": "b", "features": {"tags": 1}}]},
            "/candidates/1/features/tags",
            "expected a list of ids, found 1",
        ),
        (
            {
                "candidates": [
                    {"id": "a", "features": {"affinity": 1}},
                    {"id": "b", "features": {"affinity": "much"}},
                ]
            },
            "/candidates/1/features/affinity",
            "expected a finite number, found 'much'",
        ),
        ({"context": {"hour": LONG}}, "/context/hour", "expected an id of at most 1024 bytes, found 1025"),
        (
            {
                "candidates": [
                    {"id": "a", "features": {"tags": ["t"]}},
                    {"id": "b", "features": {"tags": ["t", LONG]}},
                ]
            },
            "/candidates/1/features/tags",
            "expected an id of at most 1024 bytes, found 1025",
        ),
    ],
)
def test_a_value_that_no_feature_can_have_is_refused_with_its_place(changes, pointer, detail):
    assert refused(**changes) == [(pointer, detail)]


def test_ever_different_columns_do_not_fill_the_memory(monkeypatch):
    alive = weakref.WeakSet()

    class NotedLayout(RecordLayout):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            alive.add(self)

    monkeypatch.setattr(request_features, "RecordLayout", NotedLayout)
    monkeypatch.setattr(request_features, "MAX_CACHED_LAYOUTS", 3)
    reader = RequestReader(ENCODER)
    names = ("topic", "tags", "duration_s", "affinity")
    for chosen in range(1, 16):
        features = {name: None for bit, name in enumerate(names) if chosen >> bit & 1}
        reader.read(request(candidates=[{"id": "a", "features": features}]))
        assert 0 < len(alive) <= 3
