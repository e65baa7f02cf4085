from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ranker.errors import SourceError
from ranker.features.kinds.category import CategoryFeature
from ranker.features.sides import Side
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.score.terms import ScoreTerm
from ranker.spec import RankerSpec
from tests.ranker.small_spec import SMALL_SPEC, random_records

ID = {"name": "video_id", "side": "candidate", "kind": "id"}
CLICK = {"name": "click", "group": "engagement", "kind": "binary"}
RECORDS = random_records(3)


def spec(
    features: Any = (ID,), tasks: Any = (CLICK,), terms: Any = ({"head": "click"},), **more: Any
) -> RankerSpec:
    score = {"terms": list(terms), "combine": more.pop("combine", "product")}
    return RankerSpec.model_validate(
        {"name": "x", "features": list(features), "tasks": list(tasks), "score": score, **more}
    )


def test_the_parts_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SMALL_SPEC.network.experts = 4  # type: ignore[misc]


def test_a_side_gives_its_features_in_the_order_of_the_spec() -> None:
    assert [f.name for f in SMALL_SPEC.side(Side.BIAS, Side.CONTEXT)] == ["hour", "position", "device"]


def test_stored_users_and_videos_have_each_column_once_and_no_id() -> None:
    assert SMALL_SPEC.user_columns == ("country", "interests", "age")
    assert SMALL_SPEC.video_columns == ("tags", "topic", "duration_s")


def test_the_query_video_adds_columns_to_stored_videos() -> None:
    query = {"name": "mood", "column": "query_mood", "side": "query", "kind": "category"}

    assert spec([ID, query]).video_columns == ("mood",)


def test_columns_and_labels_are_named_as_the_thing_itself_unless_given() -> None:
    by_name = {f.name: f.source_column for f in SMALL_SPEC.side(*Side)}
    labels = {t.name: t.source_column for t in SMALL_SPEC.tasks}

    assert by_name["last_author"] == "last_author_id"
    assert by_name["age"] == "age"
    assert labels == {"click": "click", "watch_time": "watch_time", "like": "like", "rating": "survey_rating"}


def test_a_category_has_rows_for_missing_and_other_beside_its_values() -> None:
    given = CategoryFeature(name="a", side="context", kind="category", values=("x", 1))
    learned = CategoryFeature(name="a", side="context", kind="category", capacity=5)

    assert (given.size, learned.size) == (4, 7)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="found two features named 'video_id'"):
        spec([ID, {**ID, "side": "pair"}])


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="found two tasks or labels named 'click'"):
        spec(tasks=[CLICK, CLICK])


def test_two_score_terms_of_one_head_are_refused() -> None:
    with pytest.raises(ValidationError, match="found two score terms for head 'click'"):
        spec(terms=[{"head": "click"}, {"head": "click"}])


@pytest.mark.parametrize("owner", ["absent", "age", "query_video_id", "topic"])
def test_shares_of_anything_but_a_table_is_refused(owner: str) -> None:
    features = [
        ID,
        {"name": "query_video_id", "side": "query", "kind": "id", "shares": "video_id"},
        {"name": "age", "side": "user", "kind": "number"},
        {"name": "topic", "side": "candidate", "kind": "category"},
        {"name": "last", "side": "pair", "kind": "id", "shares": owner},
    ]

    with pytest.raises(ValidationError, match=rf"'last': shares expects .*\(video_id\), found '{owner}'"):
        spec(features)


@pytest.mark.parametrize("size", ["buckets", "dim", "capacity"])
def test_a_shared_table_has_no_size_of_its_own(size: str) -> None:
    sharing = {"name": "last", "side": "pair", "kind": "id", "shares": "video_id", size: 16}

    with pytest.raises(ValidationError, match=f"'last': shares the table of 'video_id', .* no '{size}'"):
        spec([ID, sharing])


@pytest.mark.parametrize("part", ["absent", "both", "tags", "age", "position"])
def test_a_cross_is_of_ids_and_categories(part: str) -> None:
    features = [
        ID,
        {"name": "tags", "side": "candidate", "kind": "ids"},
        {"name": "age", "side": "user", "kind": "number"},
        {"name": "hour", "side": "context", "kind": "category"},
        {"name": "position", "side": "bias", "kind": "category"},
        {"name": "both", "kind": "cross", "of": ["video_id", part]},
    ]

    with pytest.raises(ValidationError, match=rf"'both': a cross .*\(video_id, hour\), found '{part}'"):
        spec(features)


def test_a_cross_has_different_parts() -> None:
    with pytest.raises(ValidationError, match="found two parts of 'both' 'video_id'"):
        spec([ID, {"name": "both", "kind": "cross", "of": ["video_id", "video_id"]}])
    with pytest.raises(ValidationError, match="at least 2 items"):
        spec([ID, {"name": "both", "kind": "cross", "of": ["video_id"]}])


def test_a_score_term_for_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValidationError, match="expected a head out of click, found 'share'"):
        spec(terms=[{"head": "share"}])


def test_a_bias_feature_is_a_category() -> None:
    with pytest.raises(ValidationError, match="'rank': side bias expects kind category, found number"):
        spec([ID, {"name": "rank", "side": "bias", "kind": "number"}])


def test_a_query_feature_holds_the_query_videos_column() -> None:
    with pytest.raises(ValidationError, match=r"side query expects a column 'query_\.\.\.', found 'topic'"):
        spec([ID, {"name": "topic", "side": "query", "kind": "category"}])


def test_a_position_bias_needs_a_bias_feature() -> None:
    with pytest.raises(ValidationError, match="'click': position_bias expects a feature with side bias"):
        spec(tasks=[{**CLICK, "position_bias": True}])


def test_bias_features_alone_rank_nothing() -> None:
    with pytest.raises(ValidationError, match="at least one outside side bias, found none"):
        spec([{"name": "position", "side": "bias", "kind": "category"}])


@pytest.mark.parametrize("label", [{}, {"column": "liked"}])
def test_a_label_is_no_feature(label: dict[str, str]) -> None:
    column = label.get("column", "click")

    with pytest.raises(ValidationError, match=f"'leak': its column '{column}' is a label"):
        spec([ID, {"name": "leak", "column": column, "side": "pair", "kind": "number"}], [{**CLICK, **label}])


def test_a_binary_label_is_not_transformed() -> None:
    with pytest.raises(ValidationError, match=r"expected the keys .* found 'transform'"):
        spec(tasks=[{**CLICK, "transform": "log1p"}])


@pytest.mark.parametrize("bounds", [{}, {"high": 0}, {"low": 2, "high": 1}])
def test_clip_needs_bounds_in_order(bounds: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="'click': clip expects 'high' above 'low'"):
        ScoreTerm(head="click", transform="clip", **bounds)


@pytest.mark.parametrize(
    ("term", "message"), [({"transform": "logit"}, "logit can be negative"), ({"offset": -1}, "found -1")]
)
def test_a_product_has_no_negative_bases(term: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(terms=[{"head": "click", **term}])

    assert spec(terms=[{"head": "click", **term}], combine="sum").score.terms[0].head == "click"


@pytest.mark.parametrize("values", [(True, False), (1.5,)])
def test_category_values_are_strings_or_whole_numbers(values: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError, match=f"strings or whole numbers, found {values[0]}"):
        CategoryFeature(name="a", side="context", kind="category", values=values)


def test_category_values_that_are_encoded_alike_are_refused() -> None:
    with pytest.raises(ValidationError, match="found two values '1'"):
        spec([ID, {"name": "a", "side": "context", "kind": "category", "values": [1, "1"]}])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_are_finite(number: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        ScoreTerm(head="click", weight=number)


def test_gates_keep_at_least_a_chance_of_experts() -> None:
    with pytest.raises(ValidationError, match="gate_dropout"):
        MMoESpec(gate_dropout=1)


def test_records_with_all_columns_fit() -> None:
    SMALL_SPEC.check_schema(RECORDS.schema, where="log")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("topic", "log: feature 'topic' expects a column 'topic', found time_ms, user_id, "),
        ("last_author_id", "log: feature 'last_author' expects a column 'last_author_id', found "),
        ("position", "log: feature 'position' expects a column 'position', found "),
        ("survey_rating", "log: task 'rating' expects a label column 'survey_rating', found "),
        ("time_ms", "log: expected a column 'time_ms', found user_id, "),
        ("video_id", "log: expected a column 'video_id', found "),
    ],
)
def test_a_column_that_the_source_lacks_is_named(column: str, message: str) -> None:
    schema = pa.schema([field for field in RECORDS.schema if field.name != column])

    with pytest.raises(SourceError) as error:
        SMALL_SPEC.check_schema(schema, where="log")

    assert str(error.value).startswith(message)


def test_times_are_whole_milliseconds() -> None:
    schema = RECORDS.schema.set(0, pa.field("time_ms", pa.timestamp("ms")))

    with pytest.raises(SourceError, match=r"log: expected 'time_ms' in whole milliseconds.*timestamp"):
        SMALL_SPEC.check_schema(schema, where="log")


@pytest.mark.parametrize("column", ["tags", "country"])
def test_a_column_of_a_wrong_type_is_refused_before_the_first_row(column: str) -> None:
    index = RECORDS.schema.get_field_index(column)
    schema = RECORDS.schema.set(index, pa.field(column, pa.timestamp("ms")))

    with pytest.raises(SourceError, match=rf"log: column {column}: expected .*, found a column of timestamp"):
        SMALL_SPEC.check_schema(schema, where="log")
