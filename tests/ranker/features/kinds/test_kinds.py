"""Every kind that there is keeps the contract."""

from typing import ClassVar, get_args

from ranker.features.kinds.feature import Feature
from ranker.features.kinds.registry import AnyFeature
from tests.ranker.features.kinds.feature_contract import FIRST_MS, FeatureContract

RATE = {"name": "of_author", "kind": "rate", "of": ["author"], "labels": ["click"], "half_lives": ["1d"]}
AUTHOR = {"name": "author", "side": "candidate", "kind": "id", "buckets": 32, "dim": 4}
TAGS = {"name": "tags", "side": "candidate", "kind": "ids", "buckets": 32, "dim": 4}
LENGTH = {"name": "length", "side": "candidate", "kind": "number"}


class TestId(FeatureContract):
    features: ClassVar = [AUTHOR]
    values: ClassVar = {"author": ("a", "b")}


class TestIdWithRowsOfItsOwn(FeatureContract):
    features: ClassVar = [{"name": "author", "side": "candidate", "kind": "id", "capacity": 8, "dim": 4}]
    values: ClassVar = {"author": ("a", "b")}


class TestIdThatSharesATable(FeatureContract):
    features: ClassVar = [{"name": "query_video_id", "side": "query", "kind": "id", "shares": "video_id"}]
    values: ClassVar = {"query_video_id": ("x", "y")}


class TestIds(FeatureContract):
    features: ClassVar = [TAGS]
    values: ClassVar = {"tags": (["a", "b"], ["b"])}


class TestCategory(FeatureContract):
    features: ClassVar = [{"name": "country", "side": "user", "kind": "category", "dim": 2}]
    values: ClassVar = {"country": ("DE", "FR")}


class TestCategoryOfThePositionTower(FeatureContract):
    features: ClassVar = [{"name": "device", "side": "bias", "kind": "category", "dim": 2}]
    values: ClassVar = {"device": ("phone", "tv")}


class TestNumber(FeatureContract):
    features: ClassVar = [{**LENGTH, "transform": "log1p"}]
    values: ClassVar = {"length": (3.0, 70.0)}


class TestBin(FeatureContract):
    features: ClassVar = [{"name": "length", "side": "pair", "kind": "bin", "edges": [10, 60], "dim": 2}]
    values: ClassVar = {"length": (3.0, 70.0)}


class TestCross(FeatureContract):
    features: ClassVar = [
        AUTHOR,
        {"name": "of_both", "kind": "cross", "of": ["user_id", "author"], "buckets": 32},
    ]
    values: ClassVar = {"author": ("a", "b")}


class TestRate(FeatureContract):
    features: ClassVar = [AUTHOR, RATE]
    values: ClassVar = {"author": ("a", "b")}


class TestRateWithAPrior(FeatureContract):
    features: ClassVar = [
        AUTHOR,
        RATE,
        {**RATE, "name": "of_pair", "of": ["user_id", "author"], "prior": "of_author", "prior_strength": 2},
    ]
    values: ClassVar = {"author": ("a", "b"), "user_id": ("u", "w")}


class TestRateOfAList(FeatureContract):
    features: ClassVar = [TAGS, {**RATE, "of": ["tags"]}]
    values: ClassVar = {"tags": (["a", "b"], ["c"])}


class TestHistory(FeatureContract):
    features: ClassVar = [
        {"name": "clicked", "kind": "history", "of": "video_id", "label": "click", "length": 3}
    ]
    values: ClassVar = {"user_id": ("u", "w")}


class TestHistoryThatIsAttendedTo(FeatureContract):
    features: ClassVar = [
        {"name": "seen", "kind": "history", "of": "video_id", "length": 3, "pool": "attention"}
    ]
    values: ClassVar = {"user_id": ("u", "w"), "video_id": ("v", "x")}


class TestAge(FeatureContract):
    features: ClassVar = [AUTHOR, {"name": "last_seen", "kind": "age", "of": ["author"]}]
    values: ClassVar = {"author": ("a", "b")}


class TestAgeOfATime(FeatureContract):
    features: ClassVar = [
        {"name": "uploaded_ms", "side": "candidate", "kind": "number"},
        {"name": "upload_age", "kind": "age", "since": "uploaded_ms"},
    ]
    values: ClassVar = {"uploaded_ms": (FIRST_MS - 10_000.0, FIRST_MS - 10_000_000.0)}


def test_every_kind_of_the_registry_is_held_to_the_contract() -> None:
    kinds: set[type[Feature]] = set(get_args(get_args(AnyFeature)[0]))
    held = {case.features[-1]["kind"] for case in FeatureContract.__subclasses__()}

    assert held == {get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds}
