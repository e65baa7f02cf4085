from typing import Any

import pytest

from training.spec_difference import differences

SPEC: dict[str, Any] = {
    "name": "small",
    "features": [{"name": "a", "kind": "id", "buckets": 8}, {"name": "b", "kind": "number"}],
    "network": {"kind": "mmoe", "shared": [8]},
    "score": {"terms": [{"head": "click", "weight": 1}]},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": {"kind": "mmoe", "shared": [16]}}, ["network > shared: [16], found [8]"]),
        ({"network": {"kind": "mmoe"}}, ["network > shared: none, found [8]"]),
        (
            {"features": [{"name": "a", "kind": "id", "buckets": 9}, SPEC["features"][1]]},
            ["features > 'a' > buckets: 9, found 8"],
        ),
        (
            {"features": SPEC["features"][:1]},
            ["features > 'b': none, found {'name': 'b', 'kind': 'number'}"],
        ),
        ({"features": SPEC["features"][::-1]}, ["features: ['b', 'a'], found ['a', 'b']"]),
        (
            {"score": {"terms": [{"head": "click", "weight": 2}]}, "name": "big"},
            ["name: 'big', found 'small'", "score > terms > 'click' > weight: 2, found 1"],
        ),
        ({}, []),
    ],
)
def test_every_key_that_differs_is_named_with_both_values(change: dict[str, Any], said: list[str]) -> None:
    assert [str(each) for each in differences(SPEC | change, SPEC)] == [
        f"expected spec {text}" for text in said
    ]


def test_a_head_that_counts_twice_is_compared_as_a_list() -> None:
    terms = [{"head": "click", "weight": 1}, {"head": "click", "weight": 2}]
    [found] = differences({"terms": terms}, {"terms": terms[:1]})
    assert str(found) == f"expected spec terms: {terms}, found {terms[:1]}"
