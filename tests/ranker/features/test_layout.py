from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.cross import CrossFeature
from ranker.features.kinds.hashed import HashedFeature
from ranker.features.kinds.id import IdFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.number import NumberFeature
from ranker.features.layout import Layout
from ranker.features.sides import Group
from tests.ranker.small_spec import SMALL_SPEC

LAYOUT = Layout(SMALL_SPEC)
FEATURES = {f.name: f for f in SMALL_SPEC.features}
(CROSS, _) = (f for f in SMALL_SPEC.features if isinstance(f, CrossFeature))


def rows(name: str) -> range:
    """The table rows that a feature can use."""
    feature = FEATURES[name]
    assert not isinstance(feature, NumberFeature)
    first = LAYOUT.first_row(feature)
    if isinstance(feature, CategoryFeature):
        return range(first, first + feature.size)
    table = feature.owner(FEATURES)
    assert isinstance(table, HashedFeature)
    own = table.capacity if isinstance(table, IdFeature) else None
    count = table.buckets + 1 if own is None else own + 2
    return range(first, first + count)


def test_features_of_one_width_fill_a_table_without_overlap() -> None:
    for width, total in LAYOUT.table_rows.items():
        owners = [
            name
            for name, f in FEATURES.items()
            if LAYOUT.width(f) == width
            and (
                (isinstance(f, CategoryFeature) and f not in LAYOUT.bias)
                or isinstance(f, CrossFeature)
                or (isinstance(f, IdFeature | IdsFeature) and f.shares is None)
            )
        ]

        assert sorted(row for name in owners for row in rows(name)) == list(range(total))


def test_sharing_features_use_the_rows_of_the_owner() -> None:
    assert rows("query_video_id") == rows("video_id")
    assert rows("query_tags") == rows("tags")
    assert LAYOUT.width(FEATURES["query_tags"]) == 4


def test_bias_features_have_no_rows_and_no_input() -> None:
    assert [f.name for f in LAYOUT.bias] == ["position", "device"]
    assert not set(LAYOUT.bias) & {f for group in Group for f in LAYOUT.features(group)}


def test_the_inputs_of_a_group_are_as_wide_as_its_features_together() -> None:
    widths = {group: LAYOUT.input_width(group) for group in Group}

    assert widths == {
        Group.REQUEST: 4 + 4 + 3 + 2 + 4 + 4 + 2 + 2 + 2,
        Group.CANDIDATE: 4 + 4 + 4 + 2,
        Group.PAIR: 2 + 2 + 4,
    }


def test_a_cross_has_the_rows_of_its_parts_or_of_the_pairs_if_they_differ() -> None:
    groups = {f.name: group for group in Group for f in LAYOUT.features(group)}

    assert groups["user_hour"] is Group.REQUEST
    assert groups["user_topic"] is Group.PAIR
    assert [part.name for part in CROSS.columns(LAYOUT.by_name)] == ["user_id", "hour", "country"]
