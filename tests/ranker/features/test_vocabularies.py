"""Categories are looked up and learned by their hashes."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from ranker.features.hashing import hash_strings
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.column import ColumnFeature
from ranker.features.record import MISSING_KEY, Words
from ranker.features.sides import Side
from ranker.features.vocabularies import FIRST_VALUE, MISSING, OTHER, Vocabularies

SEED = 7


def category(name: str, **options: object) -> CategoryFeature:
    return CategoryFeature.model_validate({"kind": "category", "name": name, "side": Side.USER, **options})


def keys(*columns: Sequence[str | None]) -> Words:
    """(R, K) hashes of K columns."""
    hashed = [
        np.where(
            [value is None for value in column],
            MISSING_KEY,
            hash_strings(pa.array(column, pa.string()), seed=SEED),
        )
        for column in columns
    ]
    return np.stack(hashed, axis=1)


def learn(vocabularies: Vocabularies, **columns: Sequence[str | None]) -> NDArray[np.int64]:
    """Look columns up, then let them be learned; return what was found."""
    names = list(columns)
    found = vocabularies.categories(names, keys(*columns.values()))

    def text(feature: ColumnFeature) -> pa.Array:
        return pa.array(columns[feature.name], pa.string())

    vocabularies.observe(names, found, text)
    return found


def test_given_values_have_the_places_in_which_they_are_given() -> None:
    vocabularies = Vocabularies([category("topic", values=["news", 7])], seed=SEED)

    found = vocabularies.categories(["topic"], keys(["7", None, "news", "sport"]))

    assert found[:, 0].tolist() == [FIRST_VALUE + 1, MISSING, FIRST_VALUE, OTHER]


def test_values_are_learned_in_the_order_in_which_they_are_met() -> None:
    vocabularies = Vocabularies([category("a"), category("b")], seed=SEED)

    assert learn(vocabularies, a=["x", None, "y", "x"], b=["z", "x", None, "z"]).max() == OTHER
    assert vocabularies.state() == {"a": ["x", "y"], "b": ["z", "x"]}
    learn(vocabularies, b=["w", "x", None, "z"])
    assert vocabularies.state() == {"a": ["x", "y"], "b": ["z", "x", "w"]}
    assert vocabularies.categories(["b", "a"], keys(["x"], ["x"])).tolist() == [
        [FIRST_VALUE + 1, FIRST_VALUE]
    ]


def test_past_the_capacity_values_share_the_place_of_others() -> None:
    vocabularies = Vocabularies([category("a", capacity=2)], seed=SEED)

    learn(vocabularies, a=["x", "y", "z"])

    assert vocabularies.state() == {"a": ["x", "y"]}
    assert vocabularies.categories(["a"], keys(["z", "y"]))[:, 0].tolist() == [OTHER, FIRST_VALUE + 1]


def test_given_values_are_not_added_to() -> None:
    vocabularies = Vocabularies([category("a", values=["x"])], seed=SEED)

    learn(vocabularies, a=["y"])

    assert vocabularies.state() == {"a": ["x"]}


@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"], ["b"]])
def test_a_value_of_one_feature_is_none_of_another(names: list[str]) -> None:
    vocabularies = Vocabularies([category("a", values=["x"]), category("b", values=["y"])], seed=SEED)

    found = vocabularies.categories(names, keys(*[["x", "y"]] * len(names)))

    expected = {"a": [FIRST_VALUE, OTHER], "b": [OTHER, FIRST_VALUE]}
    assert {name: found[:, place].tolist() for place, name in enumerate(names)} == {
        n: expected[n] for n in names
    }


def test_it_goes_on_from_a_saved_state() -> None:
    one = Vocabularies([category("a"), category("b")], seed=SEED)
    learn(one, a=["x", "y"], b=["z", None])
    other = Vocabularies([category("a"), category("b")], seed=SEED)

    other.load(one.state())
    learn(other, a=["w", "y"], b=[None, None])

    assert other.state() == {"a": ["x", "y", "w"], "b": ["z"]}
    assert one.state() == {"a": ["x", "y"], "b": ["z"]}
