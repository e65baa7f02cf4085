from typing import Any

import pytest
from pydantic import ValidationError

from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.rate import RateFeature
from ranker.spec import RankerSpec

COLUMNS: list[dict[str, Any]] = [
    {"name": "user_id", "side": "user", "kind": "id"},
    {"name": "video_id", "side": "candidate", "kind": "id"},
    {"name": "tags", "side": "candidate", "kind": "ids"},
    {"name": "interests", "side": "user", "kind": "ids"},
    {"name": "tab", "side": "context", "kind": "category"},
    {"name": "uploaded_ms", "side": "candidate", "kind": "number"},
    {"name": "length", "side": "candidate", "kind": "bin", "edges": [1, 2]},
    {"name": "position", "side": "bias", "kind": "category", "values": [1, 2]},
]
RATE = {"name": "r", "kind": "rate", "of": ["user_id", "tab"], "labels": ["click", "like"]}
OTHER = {"name": "o", "kind": "rate", "of": ["user_id"], "labels": ["like", "click", "skip"]}
HISTORY = {"name": "h", "kind": "history", "of": "video_id", "label": "skip"}
AGE = {"name": "a", "kind": "age", "of": ["user_id"]}


def spec(*features: dict[str, Any]) -> RankerSpec:
    return RankerSpec.model_validate(
        {
            "name": "x",
            "features": [*COLUMNS, *features],
            "tasks": [
                {"name": "click", "group": "engagement", "kind": "binary", "label_wait": "90s"},
                {"name": "like", "group": "satisfaction", "kind": "binary"},
            ],
            "labels": [{"name": "skip", "kind": "binary"}],
            "score": {"terms": [{"head": "click"}]},
        }
    )


def test_features_of_the_state_stand_in_the_order_of_the_spec() -> None:
    found = spec(AGE, RATE, HISTORY).state_features

    assert [type(feature) for feature in found] == [AgeFeature, RateFeature, HistoryFeature]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (
            {**RATE, "of": ["nobody"]},
            r"'r': a key of kind rate expects features of ids or values \(user_id, .*\), found 'nobody'",
        ),
        ({**RATE, "of": ["uploaded_ms"]}, r"'r': a key of kind rate expects .*, found 'uploaded_ms'"),
        ({**RATE, "of": ["position"]}, r"'r': a key of kind rate expects .*, found 'position'"),
        ({**RATE, "of": ["tab", "tab"]}, r"expected one each, found two parts of 'r' 'tab'"),
        (
            {**RATE, "of": ["tags", "interests"]},
            r"'r': a key expects one list at most, found tags, interests",
        ),
        ({**RATE, "of": []}, r"at least 1 item"),
        (
            {**RATE, "labels": ["shares"]},
            r"'r': expected a task or label \(click, like, skip\), found 'shares'",
        ),
        ({**RATE, "labels": ["like", "like"]}, r"found two labels of 'r' 'like'"),
        ({**RATE, "labels": []}, r"at least 1 item"),
        (
            {**RATE, "half_lives": ["1 week"]},
            r"expected a duration such as 90s, 10m, 12h or 7d, found '1 week'",
        ),
        ({**RATE, "half_lives": [0]}, r"greater than 0"),
        ({**RATE, "half_lives": []}, r"at least 1 item"),
        ({**RATE, "prior_strength": 0}, r"greater than 0"),
        (
            {**RATE, "prior_strength": {"click": 2}},
            r"'r': prior_strength expects all labels, found none for 'like'",
        ),
        (
            {**RATE, "prior_strength": {"skip": 2}},
            r"'r': prior_strength .* out of click, like, found 'skip'",
        ),
        ({**RATE, "capacity": 0}, r"greater than 0"),
        ({**RATE, "prior": "h"}, r"'r': prior expects a rate .* found 'h'"),
        ({**RATE, "prior": "r"}, r"'r': prior expects a rate .* found 'r'"),
        ({**RATE, "prior": "o", "of": ["video_id"]}, r"'r': prior expects a rate .* found 'o'"),
        ({**RATE, "prior": "o", "half_lives": ["1h"]}, r"'r': prior expects a rate .* found 'o'"),
        (
            {**HISTORY, "of": "user_id"},
            r"'h': a history expects .*video_id.*, found 'user_id'",
        ),
        ({**HISTORY, "of": "tab"}, r"'h': a history expects .*, found 'tab'"),
        ({**HISTORY, "above": 1, "below": 2}, r"'h': expected either 'above' or 'below', found both"),
        ({**HISTORY, "label": None, "below": 2}, r"'h': 'above' and 'below' expect a 'label', found none"),
        ({**HISTORY, "label": None, "above": 2}, r"'h': 'above' and 'below' expect a 'label', found none"),
        (
            {**HISTORY, "of": "tags", "pool": "attention"},
            r"'h': a history expects candidates' features of kind id \(video_id\), found 'tags'",
        ),
        ({**HISTORY, "label": "shares"}, r"'h': expected a task or label \(.*\), found 'shares'"),
        ({**HISTORY, "length": 257}, r"less than or equal to 256"),
        ({**HISTORY, "pool": "max"}, r"'mean' or 'attention'"),
        ({**AGE, "of": ["nobody"]}, r"'a': a key of kind age expects .*, found 'nobody'"),
        ({**AGE, "since": "uploaded_ms"}, r"'a': an age expects either 'of' or 'since'"),
        ({**AGE, "of": []}, r"'a': an age expects either 'of' or 'since'"),
        (
            {"name": "a", "kind": "age", "since": "tab"},
            r"'a': since expects .*number \(uploaded_ms\), found 'tab'",
        ),
        ({**AGE, "half_life": "1d"}, r"expected the keys .*, found 'half_life'"),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_expected(feature: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(OTHER, feature, *([] if feature["name"] == "h" else [HISTORY]))


def test_a_rate_is_drawn_towards_one_of_a_part_of_its_key_with_its_labels() -> None:
    found = spec({**RATE, "prior": "o"}, OTHER).state_features[0]

    assert isinstance(found, RateFeature)
    assert found.prior == "o"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("90s", 90), ("1.5 m", 90), ("12h", 43_200), (" 7d ", 604_800), (90, 90), (0.5, 0.5)],
)
def test_a_duration_is_seconds_or_has_a_unit(written: Any, seconds: float) -> None:
    (found,) = spec({**RATE, "half_lives": [written]}).state_features

    assert isinstance(found, RateFeature)
    assert found.half_lives == (pytest.approx(seconds),)


@pytest.mark.parametrize("written", ["", "s", "-1s", "1w", "1h30m", -1, "inf"])
def test_what_is_no_duration_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match=r"expected a duration|greater than"):
        spec({**RATE, "half_lives": [written]})


def test_seven_days_are_the_half_life_unless_another_is_given() -> None:
    (found,) = spec(RATE).state_features

    assert isinstance(found, RateFeature)
    assert found.half_lives == (7 * 86_400,)
    assert found.labels == ("click", "like")


@pytest.mark.parametrize("edges", [[], [1, 1], [2, 1]])
def test_the_edges_of_ranges_rise(edges: list[float]) -> None:
    with pytest.raises(ValidationError, match=r"expected rising edges|at least 1 item"):
        spec({"name": "b", "side": "candidate", "kind": "bin", "edges": edges})
