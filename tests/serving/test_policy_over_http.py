"""The score policy that a request chooses, over HTTP."""

import pytest

from serving.app import create_app
from serving.settings import ServingSettings
from tests.serving.asking import by_id, rank
from tests.serving.conftest import serving
from tests.serving.small_ranker import SPEC, publish_small_ranker
from tests.serving.waiting import wait_until

VIDEOS = tuple(f"r{i}" for i in range(40))


def request(ids=VIDEOS, **changes):
    return {"user": {"id": "viewer"}, "candidates": [{"id": video_id} for video_id in ids], **changes}


def test_without_a_policy_the_default_one_ranks_and_is_named(client, bundle):
    answer = rank(client, request())
    assert (answer["score_policy"], answer["score_version"]) == ("default", bundle.spec.score.version)
    for name in ("default", None):
        assert rank(client, request(policy=name))["items"] == answer["items"]


def test_the_policy_that_a_request_names_ranks_by_the_same_predictions(client, bundle):
    by_default, answer = rank(client, request()), rank(client, request(policy="likes", explain=True))
    assert (answer["score_policy"], answer["score_version"]) == (
        "likes",
        bundle.spec.policies["likes"].version,
    )
    assert [item["id"] for item in answer["items"]] != [item["id"] for item in by_default["items"]]
    for video_id, item in by_id(answer).items():
        assert item["predictions"] == pytest.approx(by_id(by_default)[video_id]["predictions"], rel=1e-6)
        assert item["contributions"] == {"like": item["score"]}
    scores = [item["predictions"]["like"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True) == [item["score"] for item in answer["items"]]


def refused(client, **changes):
    """The mistakes that a request is refused with."""
    answer = client.post("/v1/rank", json=request(ids=["r1"], **changes))
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.json()["errors"]


def test_an_unknown_policy_is_refused_with_those_there_are(client):
    expected = "expected one of the score policies default, likes, found 'newest'"
    assert refused(client, policy="newest") == [{"pointer": "/policy", "detail": expected}]


@pytest.mark.parametrize(
    ("policy", "detail"), [(7, "expected text"), ("x" * 65, "expected at most 64 characters, found 65")]
)
def test_what_can_be_no_policy_is_refused(client, policy, detail):
    assert refused(client, policy=policy) == [{"pointer": "/policy", "detail": detail}]


def test_after_a_swap_to_a_bundle_without_the_policy_a_request_for_it_is_refused(
    tmp_path, redis_url, monkeypatch
):
    monkeypatch.setattr("serving.sync.hot_swap.POLL_S", 0.02)
    publish_small_ranker(tmp_path, seed=1)
    with serving(create_app(ServingSettings(registry=str(tmp_path), redis_url=redis_url))) as client:
        assert rank(client, request(policy="likes"))["score_policy"] == "likes"
        version = publish_small_ranker(tmp_path, seed=2, spec=SPEC.model_copy(update={"policies": {}}))
        wait_until(lambda: rank(client, request())["model_version"] == version, "the new bundle to rank")
        [mistake] = refused(client, policy="likes")
        assert mistake["detail"] == "expected one of the score policies default, found 'likes'"
        assert rank(client, request())["score_policy"] == "default"
