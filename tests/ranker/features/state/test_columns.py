"""What the state says ends up in the columns and table rows that the layout gives each feature."""

import pytest
import torch

from ranker.features.encoder import Encoder
from ranker.features.kinds.age import AgeFeature
from ranker.features.kinds.bin import BinFeature
from ranker.features.kinds.history import HistoryFeature
from ranker.features.kinds.id import IdFeature
from ranker.features.kinds.ids import IdsFeature
from ranker.features.kinds.rate import RateFeature
from ranker.features.sides import Group
from ranker.labels.matrix import label_matrix
from tests.ranker.features.state.small_state import STATE_SPEC, T, batch, one, some_log, together

LATER = T + 120_000


def learned() -> Encoder:
    encoder = Encoder(STATE_SPEC)
    log = some_log()
    encoder.encode_examples(log, observe=True, labels=label_matrix(log, STATE_SPEC.feedback))
    return encoder


def test_numbers_stand_in_the_order_of_the_features_behind_those_of_the_records() -> None:
    encoder = learned()
    same = {"tab": "a", "video_id": "v2", "author_id": "p1", "tags": ["x"], "duration_s": 20.0}

    found, other = (
        encoder.encode_examples(batch(one(LATER, user_id=user, **same))) for user in ("u2", "new")
    )

    for group in Group:
        layout, state = encoder.layout, encoder.layout.state_features(group)
        counts = [len(layout.numbers_of(feature)) for feature in state]
        missing = sum(isinstance(feature, AgeFeature) for feature in state)
        records = len(layout.numbers(group)) - sum(counts)
        assert found.groups[group].numbers.shape[1] == 2 * records + sum(counts) + missing
        differs = (found.groups[group].numbers != other.groups[group].numbers)[0]
        first, ages = records, records + sum(counts) + records
        for feature, count in zip(state, counts, strict=True):
            of_viewer = not isinstance(feature, HistoryFeature) and "user_id" in feature.of
            if isinstance(feature, AgeFeature):
                assert bool(differs[ages]) == of_viewer, feature.name  # one is known, the other is missing
                ages += 1
            elif isinstance(feature, RateFeature):
                assert bool(differs[first : first + count].any()) == of_viewer, feature.name
            first += count


def test_an_age_is_a_logarithm_and_marked_where_it_never_was() -> None:
    encoder = Encoder(STATE_SPEC)
    state = encoder.layout.state_features(Group.REQUEST)
    place = [feature.name for feature in state].index("user_age")
    width = sum(len(encoder.layout.numbers_of(feature)) for feature in state[:place])
    log = some_log()
    encoder.encode_examples(log, observe=True, labels=label_matrix(log, STATE_SPEC.feedback))

    rows = together(*(one(LATER + ms, user_id=user) for user, ms in (("u1", 0), ("u1", 10**6), ("new", 0))))
    numbers = encoder.encode_examples(batch(rows)).groups[Group.REQUEST].numbers

    assert numbers[0, width] < numbers[1, width]
    assert numbers[:, -1].tolist() == [0, 0, 1]
    assert numbers[2, width] == 0


def test_ranges_and_histories_have_rows_of_their_own_in_the_tables() -> None:
    encoder = learned()
    layout = encoder.layout
    (length,) = (f for f in STATE_SPEC.features if isinstance(f, BinFeature))
    durations = [None, 1.0, 10.0, 60.0]
    log = together(*(one(LATER, user_id="u1", duration_s=d) for d in durations))

    encoded = encoder.encode_examples(batch(log))

    candidates = encoded.groups[Group.CANDIDATE].singles[2]
    first = layout.first_row(length)
    column = [f.name for f in layout.embedded(Group.CANDIDATE, 2)].index("length")
    assert (candidates[:, column] - first).tolist() == [0, 1, 2, 3]
    owned = [f for f in STATE_SPEC.state_features if isinstance(f, HistoryFeature)]
    starts = [layout.first_row(f) for f in owned if layout.width(f) == 4]
    assert len(set(starts)) == len(starts)


def test_a_history_is_rows_of_its_table_and_of_ages_in_turn() -> None:
    encoder = learned()
    layout = encoder.layout
    bags = encoder.encode_examples(batch(one(LATER, user_id="u3"))).groups[Group.REQUEST].bags
    histories = [f for f in layout.state_features(Group.REQUEST) if isinstance(f, HistoryFeature)]

    for bag, feature in zip(bags[-len(histories) :], histories, strict=True):
        assert bag.width == layout.width(feature)
        values, ages = bag.rows[0::2], bag.rows[1::2]
        assert 0 < len(values) <= feature.length, feature.name
        of = layout.by_name[feature.of]
        assert isinstance(of, IdFeature | IdsFeature)
        first, buckets = layout.first_row(of), of.owner(layout.by_name).buckets  # type: ignore[attr-defined]
        assert bool(((values > first) & (values <= first + buckets)).all()), feature.name
        in_ages = ages - layout.first_row(feature)
        assert in_ages.tolist() == sorted(in_ages.tolist()), feature.name  # the newest come first
        assert set(in_ages.tolist()) <= {2, 3, 4, 5, 6}, feature.name  # 3 to 126 seconds


def test_a_spec_counts_as_many_numbers_as_it_has_labels_and_half_lives() -> None:
    layout = Encoder(STATE_SPEC).layout

    for feature in STATE_SPEC.state_features:
        expected = {
            RateFeature: lambda f: len(f.half_lives) * (len(f.labels) + 1),
            AgeFeature: lambda f: 1,
            HistoryFeature: lambda f: 0,
        }[type(feature)](feature)
        assert len(layout.numbers_of(feature)) == expected


@pytest.mark.parametrize("uploaded_ms", [None, -1e300, 1e300])
def test_no_number_is_anything_but_finite(uploaded_ms: float | None) -> None:
    encoder = learned()

    for inputs in encoder.encode_examples(batch(one(LATER, uploaded_ms=uploaded_ms))).groups.values():
        assert bool(torch.isfinite(inputs.numbers).all())
