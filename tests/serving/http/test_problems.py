import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from serving.http.json_pointer import json_pointer
from serving.http.problem_documents import MEDIA_TYPE
from serving.http.validation_messages import validation_message

BODY = {"user": {"id": "u"}, "candidates": [{"id": "a"}, {"id": "b"}]}
JSON = {"Content-Type": "application/json"}


def post(client, content, headers=JSON):
    return client.post("/v1/rank", content=content, headers=headers)


def check_problem(response, status, slug):
    document = response.json()
    assert response.status_code == status, document
    assert response.headers["Content-Type"] == "application/problem+json"
    assert document["type"] == f"urn:watchnext:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["X-Request-ID"]
    return document


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"",
        b"\xff",
        b'{"user": NaN}',
        b'{"user": -Infinity}',
        b'{"user": "\\ud800"}',
        b'{"user": "\x00"}',
        b"[" * 50_000,
        json.dumps(BODY).encode("utf-16"),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_not_json_is_a_400(client, content):
    check_problem(post(client, content), 400, "not-json")


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"candidates": []}, ["/candidates"]),
        ({"candidates": [{"id": "a"}] * 1001}, ["/candidates"]),
        ({"candidates": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, ["/candidates/2/id"]),
        ({"candidates": [{"id": "a"}, {"id": ""}]}, ["/candidates/1/id"]),
        ({"candidates": [{"id": "a", "features": {"duraton_s": 1}}]}, ["/candidates/0/features/duraton_s"]),
        (
            {"candidates": [{"id": "a", "features": {"duration_s": "1"}}]},
            ["/candidates/0/features/duration_s"],
        ),
        ({"candidates": [{"id": "a", "features": {"a/b~": 1}}]}, ["/candidates/0/features/a~1b~0"]),
        ({"candidates": [{"id": "a", "sauce": 1}, {}]}, ["/candidates/0/sauce", "/candidates/1/id"]),
        ({"user": {"id": ""}}, ["/user/id"]),
        ({"user": {"id": "u", "features": {"age": [1]}}}, ["/user/features/age"]),
        ({"user": None}, ["/user"]),
        ({"context": {"hour": {"of": "day"}}}, ["/context/hour"]),
        ({"context": {"hour": ["21"]}}, ["/context/hour"]),
        ({"context": {"minute": 1}}, ["/context/minute"]),
        ({"query_features": {"topic": ["news"]}}, ["/query_features/topic"]),
        ({"query_video_id": 1.5}, ["/query_video_id"]),
        ({"limit": 0}, ["/limit"]),
        ({"limit": 10**30}, ["/limit"]),
        ({"explain": "perhaps"}, ["/explain"]),
        ({"extra": 1}, ["/extra"]),
    ],
)
def test_what_cannot_be_ranked_is_a_422_that_names_every_place(client, changes, pointers):
    document = check_problem(post(client, json.dumps({**BODY, **changes})), 422, "invalid-request")
    assert [error["pointer"] for error in document["errors"]] == pointers
    assert all(error["detail"] for error in document["errors"])


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400])
def test_numbers_beyond_a_float_are_a_422(client, number):
    body = json.dumps({**BODY, "user": {"id": "u", "features": {"age": 1}}}).replace(
        '"age": 1', f'"age": {number}'
    )
    document = check_problem(post(client, body), 422, "invalid-request")
    assert document["errors"][0]["pointer"] == "/user/features/age"


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"'])
def test_json_that_is_no_object_is_a_422(client, content):
    document = check_problem(post(client, content), 422, "invalid-request")
    assert document["errors"] == [{"pointer": "", "detail": "expected an object"}]


def test_a_document_names_no_more_than_fifty_places(client):
    body = {**BODY, "user": {"id": "u", "features": {f"x{i}": i for i in range(60)}}}
    document = check_problem(post(client, json.dumps(body)), 422, "invalid-request")
    assert len(document["errors"]) == 50
    assert document["detail"].endswith("and 59 more")


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/jsonp"}]
)
def test_a_body_not_declared_as_json_is_a_415(client, headers):
    check_problem(post(client, json.dumps(BODY), headers), 415, "not-declared-as-json")


def test_json_may_be_declared_with_parameters(client):
    response = post(client, json.dumps(BODY), {"Content-Type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 200


def test_a_body_above_the_limit_is_a_413(client):
    check_problem(post(client, b" " * 100_001), 413, "body-too-large")


def test_a_body_at_the_limit_is_read(client):
    assert post(client, json.dumps(BODY).ljust(100_000)).status_code == 200


def test_a_body_sent_in_chunks_is_measured_as_it_comes(client):
    check_problem(post(client, (b" " * 10_000 for _ in range(11))), 413, "body-too-large")


def test_a_path_that_is_not_there_is_a_404(client):
    check_problem(client.get("/v2/rank"), 404, "not-found")


def test_a_wrong_method_is_a_405_with_the_right_ones(client):
    response = client.get("/v1/rank")
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("changes", "pointer", "detail"),
    [
        ({"candidates": []}, "/candidates", "expected at least 1 item, found 0"),
        ({"candidates": [{"id": "a"}] * 1001}, "/candidates", "expected at most 1000 items, found 1001"),
        ({"candidates": {}}, "/candidates", "expected a list"),
        ({"limit": 0}, "/limit", "expected at least 1, found 0"),
        ({"limit": 10**30}, "/limit", f"expected at most 1000, found {10**30}"),
        ({"limit": "x"}, "/limit", "expected an integer"),
        ({"limit": 1.5}, "/limit", "expected an integer"),
        ({"explain": "perhaps"}, "/explain", "expected true or false"),
        ({"extra": 1}, "/extra", "unknown field"),
        ({"user": {"features": {}, "name": 1}}, "/user/name", "unknown field"),
        ({"user": 1}, "/user", "expected an object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_mistakes_are_told_in_words_of_json(client, changes, pointer, detail):
    document = check_problem(post(client, json.dumps({**BODY, **changes})), 422, "invalid-request")
    assert document["errors"] == [{"pointer": pointer, "detail": detail}]


@pytest.mark.parametrize(
    ("parts", "expected"), [((), ""), (("a", 0, "b"), "/a/0/b"), (("a/b", "~1"), "/a~1b/~01")]
)
def test_pointers_are_escaped(parts, expected):
    assert json_pointer(parts) == expected


class Texts(BaseModel):
    one: str = Field("x", min_length=1)
    two: str = Field("xx", min_length=2, max_length=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"one": ""}, "expected at least 1 character, found 0"),
        ({"two": "x"}, "expected at least 2 characters, found 1"),
        ({"two": "xxxx"}, "expected at most 3 characters, found 4"),
        ({"two": 1}, "expected text"),
    ],
    ids=str,
)
def test_lengths_of_text_are_told_in_characters(values, message):
    with pytest.raises(ValidationError) as caught:
        Texts.model_validate(values)
    assert validation_message(dict(caught.value.errors()[0])) == message


def test_what_has_no_wording_keeps_its_message():
    assert validation_message({"type": "unheard_of", "msg": "Message", "input": 1}) == "Message"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
FEATURE_NAMES = ["age", "hour", "topic", "tags", "duration_s"]
FIELDS = ["user", "id", "features", "candidates", "query_video_id", "query_features", "context", "limit"]
NAMES = st.sampled_from([*FIELDS, *FEATURE_NAMES]) | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
FEATURES = st.dictionaries(st.sampled_from(FEATURE_NAMES), ANYTHING, max_size=3)
IDS = st.text(max_size=5) | st.integers() | SCALARS
NEAR_REQUESTS = st.fixed_dictionaries(
    {
        "user": st.fixed_dictionaries({"id": IDS}, optional={"features": FEATURES}) | ANYTHING,
        "candidates": st.lists(
            st.fixed_dictionaries({"id": IDS}, optional={"features": FEATURES, "source": SCALARS}) | ANYTHING,
            max_size=4,
        ),
    },
    optional={
        "query_video_id": IDS,
        "query_features": FEATURES,
        "context": FEATURES,
        "limit": SCALARS,
        "explain": SCALARS,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=NEAR_REQUESTS | ANYTHING)
def test_whatever_json_is_sent_the_answer_is_a_ranking_or_a_clients_error(client, body):
    response = post(client, json.dumps(body))  # NaN and lone surrogates included
    assert response.status_code in {200, 400, 422}, body
    if response.status_code != 200:
        slug = "not-json" if response.status_code == 400 else "invalid-request"
        check_problem(response, response.status_code, slug)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_whatever_bytes_are_sent_the_answer_is_a_clients_error(client, content):
    assert post(client, content).status_code in {400, 422}


def test_the_interface_describes_its_problems(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/rank"]["post"]
    for status in ("400", "413", "415", "422"):
        [(media_type, content)] = operation["responses"][status]["content"].items()
        assert media_type == MEDIA_TYPE
        properties = content["schema"]["properties"]
        assert set(properties) == {"type", "title", "status", "detail", "request_id", "errors"}
        assert set(properties["errors"]["items"]["properties"]) == {"pointer", "detail"}
