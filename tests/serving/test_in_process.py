"""Ranking without HTTP gives what ranking over HTTP gives."""

import pyarrow as pa
import pytest

from ranker.errors import FeatureError, UserError
from serving.in_process import Ranker

USER = {"age": 31.5}
VIDEOS = {
    "p1": {"tags": ["x", "y"], "topic": "news", "duration_s": 30.0},
    "p2": {"tags": [], "topic": "music", "duration_s": 300.0},
    "p3": {"topic": "sport"},
}
REQUEST = {
    "query_video_id": "p3",
    "query_features": {"topic": "music"},
    "context": {"hour": 7},
    "time_ms": 1_690_000_100_000,
    "explain": True,
}
CANDIDATES = ["p1", {"id": "p2", "features": {"affinity": 0.4}}, "unknown", 17]


@pytest.fixture
def ranker(registry, monkeypatch):
    monkeypatch.setattr("serving.in_process.fast_bfloat16", lambda device: False)
    return Ranker.load(registry)


@pytest.mark.parametrize("policy", [None, "likes"])
def test_the_answer_is_that_of_the_service(ranker, client, policy):
    client.put("/v1/users", json={"id": "face", "features": USER}).raise_for_status()
    for name, features in VIDEOS.items():
        client.put("/v1/videos", json={"id": name, "features": features}).raise_for_status()
    candidates = [c if isinstance(c, dict) else {"id": c} for c in CANDIDATES]
    body = {"user": {"id": "face"}, "candidates": candidates, "policy": policy, **REQUEST}
    answer = client.post("/v1/rank", json=body).raise_for_status().json()

    ranker.know_users([{"user_id": "face", **USER}])
    ranker.know_videos([{"video_id": name, **features} for name, features in VIDEOS.items()])
    ranking = ranker.rank("face", CANDIDATES, policy=policy, **REQUEST)

    for mine, theirs in zip(ranking.items, answer["items"], strict=True):
        assert (mine.id, mine.position) == (theirs["id"], theirs["position"])
        assert mine.predictions == pytest.approx(theirs["predictions"], rel=1e-5, abs=1e-6)
        assert mine.contributions == pytest.approx(theirs["contributions"], rel=1e-5, abs=1e-6)
    assert ranking.ids == [item["id"] for item in answer["items"]]
    assert (ranking.state_age_s, ranking.state_stale) == (answer["state_age_s"], answer["state_stale"])
    assert (ranking.model_version, ranking.score_policy, ranking.score_version) == (
        answer["model_version"],
        answer["score_policy"],
        answer["score_version"],
    )


def test_records_come_as_a_table_too_and_newer_ones_take_the_place_of_older_ones(ranker):
    table = pa.table({"video_id": [1, 2], "duration_s": [10.0, 900.0]})
    before = ranker.rank("u", ["1", "2"])
    ranker.know_videos(table)
    known = ranker.rank("u", ["1", "2"])
    ranker.know_videos([{"video_id": "1", "duration_s": 900.0}])
    changed = ranker.rank("u", ["1", "2"])

    scores = [{item.id: item.score for item in ranking.items} for ranking in (before, known, changed)]
    assert scores[0]["1"] != scores[1]["1"] != scores[2]["1"]
    assert scores[1]["2"] == scores[2]["2"]


def test_whole_floats_are_the_ids_that_they_are_in_a_log(ranker):
    """A column of whole numbers with a null among them comes as floats out of many tools."""
    unknown = ranker.rank("u", [17]).items[0].score
    ranker.know_videos(pa.table({"video_id": [17.0], "duration_s": [900.0]}))
    as_float = ranker.rank("u", [17]).items[0].score
    ranker.know_videos([{"video_id": "17", "duration_s": 900.0}])

    assert as_float == ranker.rank("u", [17]).items[0].score != unknown


def test_a_viewer_without_an_id_is_ranked_as_one_of_whom_nothing_is_known(ranker):
    nobody = ranker.rank(None, ["1", "2"])
    assert nobody.items == ranker.rank({"features": {}}, ["1", "2"]).items
    assert nobody.items != ranker.rank("712", ["1", "2"]).items


def test_no_more_than_the_limit_are_returned(ranker):
    everything, best = ranker.rank("u", range(20)), ranker.rank("u", range(20), limit=3)

    assert best.ids == everything.ids[:3]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.rank("u", []), "^/candidates: expected at least 1 item, found 0"),
        (lambda r: r.rank("u", ["a"], context={"weather": "rain"}), "weather"),
        (lambda r: r.rank({"id": "u", "age": 3}, ["a"]), "^/user/age: unknown field"),
        (lambda r: r.rank("u", ["a", "a"]), "candidates/1"),
        (
            lambda r: r.rank("u", ["a"], time_ms=1_690_000_000),
            "^/time_ms: .*, as seconds it would be 2023",
        ),
        (
            lambda r: r.rank("u", ["a"], policy="newest"),
            "^/policy: expected one of the score policies default, likes, found 'newest'",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_the_place(ranker, call, message):
    with pytest.raises(UserError, match=message):
        call(ranker)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"duration_s": 3}], "expected a column 'video_id', found duration_s"),
        ([{"video_id": "a"}, {"video_id": None}], "video_id: expected an id, found null in row 1"),
        ([{"video_id": "a"}, {"video_id": ""}], "video_id: expected an id, found empty text in row 1"),
        (
            [{"video_id": "x" * 1025}],
            r"video_id: expected an id \(text of .*found 1025 bytes",
        ),
        (
            pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["video_id", "video_id"]),
            "expected each column once, found 'video_id' again",
        ),
        ([{"video_id": "a", "duration_s": "long"}], "duration_s: expected a finite number"),
    ],
)
def test_wrong_records_are_refused(ranker, rows, message):
    with pytest.raises(FeatureError, match=message):
        ranker.know_videos(rows)
