import pytest
from pydantic import ValidationError

from ranker.errors import InvalidRequestError
from serving.http.turns import at_once
from serving.requests import RankRequest, RecordInput

BODY = {"user": {"id": "u"}, "candidates": [{"id": "a"}]}


def validated_features(features):
    return RankRequest.model_validate({**BODY, "context": features}).context


def test_values_keep_their_types():
    features = {"text": "1", "whole": 1, "number": 1.0, "flag": True, "ids": ["a", 1], "none": None}
    found = validated_features(features)
    assert found == features
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in features.items()
    }


@pytest.mark.parametrize("value", [{}, [1.5], [None], [["a"]], float("nan"), float("inf")])
def test_what_no_feature_can_be_is_refused_with_one_message(value):
    with pytest.raises(ValidationError) as caught:
        validated_features({"hour": value})
    [error] = caught.value.errors()
    assert error["loc"] == ("context", "hour")
    assert "finite number" in error["msg"]


def test_whole_numbers_are_ids():
    body = RankRequest.model_validate({"user": {"id": 712}, "candidates": [{"id": 2**70}]})
    assert body.user.id == "712"
    assert body.candidates[0]["id"] == str(2**70)


@pytest.mark.parametrize("video_id", ["", "x" * 1025, "é" * 513, 10**1024, "\ud800", 1.0, True, None, ["a"]])
def test_what_is_no_id_is_refused(video_id):
    with pytest.raises(ValidationError) as caught:
        RankRequest.model_validate({**BODY, "candidates": [{"id": video_id}]})
    assert {error["loc"] for error in caught.value.errors()} == {("candidates", 0, "id")}


@pytest.mark.parametrize("video_id", ["x" * 1024, "é" * 512, "é" * 256, "x" * 257, "a\0b"])
def test_text_of_up_to_1024_bytes_is_an_id(video_id):
    body = RankRequest.model_validate({**BODY, "candidates": [{"id": video_id}]})
    assert body.candidates[0]["id"] == video_id


def test_a_viewer_may_be_unknown_but_not_unnamed():
    assert RankRequest.model_validate({**BODY, "user": {}}).user.id is None
    assert RankRequest.model_validate({**BODY, "user": {"id": None}}).user.id is None
    with pytest.raises(ValidationError):
        RankRequest.model_validate({**BODY, "user": {"id": ""}})


def test_the_interface_describes_ids_as_they_are_checked():
    described = RecordInput.model_json_schema()["properties"]["id"]
    assert described["anyOf"] == [
        {"type": "string", "minLength": 1, "maxLength": 1024},
        {"type": "integer"},
    ]


@pytest.mark.parametrize(("count", "accepted"), [(0, False), (1, True), (1000, True), (1001, False)])
def test_a_request_has_one_to_a_thousand_candidates(count, accepted):
    body = {**BODY, "candidates": [{"id": i} for i in range(count)]}
    if accepted:
        assert len(RankRequest.model_validate(body).candidates) == count
    else:
        with pytest.raises(ValidationError, match="candidates"):
            RankRequest.model_validate(body)


@pytest.mark.parametrize(("field", "value"), [("limit", "5"), ("explain", 0), ("timeout_ms", True)])
def test_values_of_another_json_type_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        RankRequest.model_validate({**BODY, field: value})


def test_true_is_no_id_in_a_list():
    with pytest.raises(ValidationError, match="a list of ids"):
        RankRequest.model_validate({**BODY, "context": {"tags": [True]}})


def test_the_example_is_a_request():
    [example] = RankRequest.model_json_schema()["examples"]
    assert RankRequest.model_validate(example).explain is True


@pytest.mark.parametrize("number", [0, -5, 10**1023, -(10**1022)])
def test_an_integer_of_ordinary_size_is_an_id(number):
    body = RecordInput.model_validate({"id": number})
    assert body.id == str(number)


def test_a_candidate_has_no_further_fields():
    with pytest.raises(ValidationError) as caught:
        RankRequest.model_validate({**BODY, "candidates": [{"id": "a"}, {"id": "b", "rank": 1}]})
    assert [error["loc"] for error in caught.value.errors()] == [("candidates", 1, "rank")]


def test_a_candidate_is_an_object():
    with pytest.raises(ValidationError) as caught:
        RankRequest.model_validate({**BODY, "candidates": [17]})
    assert [error["loc"] for error in caught.value.errors()] == [("candidates", 0)]


@pytest.mark.parametrize("timeout_ms", [0, -1, 60_001, 1.5, "soon"])
def test_a_timeout_is_a_whole_number_of_milliseconds_up_to_a_minute(timeout_ms):
    with pytest.raises(ValidationError) as caught:
        RankRequest.model_validate({**BODY, "timeout_ms": timeout_ms})
    assert [error["loc"] for error in caught.value.errors()] == [("timeout_ms",)]


def refusal(**changes):
    with pytest.raises(InvalidRequestError) as caught:
        at_once(RankRequest.in_steps({**BODY, **changes}))
    return caught.value


def test_in_steps_a_body_becomes_the_same_request_as_at_once():
    body = {
        **BODY,
        "candidates": [{"id": 7, "features": {"a": [1, "b"]}, "source": "x"}, {"id": "b"}],
        "limit": 3,
    }
    assert at_once(RankRequest.in_steps(body)) == RankRequest.model_validate(body)


def test_a_long_body_is_validated_in_many_steps():
    steps = RankRequest.in_steps({**BODY, "candidates": [{"id": str(i)} for i in range(1000)]})
    assert sum(1 for _ in steps) >= 100


@pytest.mark.parametrize(
    ("changes", "pointer", "detail"),
    [
        ({"context": dict.fromkeys(map(str, range(1001)), 1)}, "/context", "at most 1000 keys, found 1001"),
        (dict.fromkeys(map(str, range(49)), 1), "", "expected at most 50 keys, found 51"),
        (
            {"candidates": [dict.fromkeys(map(str, range(51)), 1)]},
            "/candidates/0",
            "at most 50 keys, found 51",
        ),
        ({"user": dict.fromkeys(map(str, range(51)), 1)}, "/user", "expected at most 50 keys, found 51"),
        ({"candidates": [{}] * 60_000}, "/candidates", "expected at most 1000 items, found 60000"),
    ],
    ids=str,
)
def test_an_object_of_too_many_keys_is_one_mistake(changes, pointer, detail):
    error = refusal(**changes)
    [mistake] = error.mistakes
    assert (mistake.pointer, error.more) == (pointer, 0)
    assert detail in mistake.detail


def test_of_many_mistakes_the_first_are_named_and_the_others_counted():
    error = refusal(candidates=[{"id": str(i), "sauce": 1} for i in range(70)])
    assert [mistake.pointer for mistake in error.mistakes] == [f"/candidates/{i}/sauce" for i in range(50)]
    assert error.more == 20


def test_the_search_for_mistakes_ends():
    looked_at = []

    class Candidates(list):
        def __iter__(self):
            for candidate in super().__iter__():
                looked_at.append(candidate)
                yield candidate

    error = refusal(candidates=Candidates([dict.fromkeys(map(str, range(40)), 1)] * 1000))
    assert 1000 <= len(error.mistakes) + error.more < 1100
    assert len(looked_at) < 40
