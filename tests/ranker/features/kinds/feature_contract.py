"""What every kind of feature must do; a kind's test inherits it and names a feature of the kind.

Shape letter: B rows.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from ranker.bundles.bundle import pack, unpack
from ranker.bundles.manifest import Manifest
from ranker.errors import SpecError
from ranker.features.encoder import Encoder
from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Feature
from ranker.features.kinds.learned import StateFeature
from ranker.features.sides import SIDES, Group, Side
from ranker.labels.matrix import label_matrix
from ranker.networks.embedding import FusedEmbedding
from ranker.spec import RankerSpec
from ranker.spec_file import dump_spec, parse_spec
from training.publish import golden_requests
from training.trainer import Trainer

FIRST_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
FEATURES: list[dict[str, Any]] = [
    {"name": "user_id", "side": "user", "kind": "id", "buckets": 32, "dim": 4},
    {"name": "video_id", "side": "candidate", "kind": "id", "buckets": 32, "dim": 4},
]
"""The features that every ranker of these tests has beside those that a kind's test names."""


class FeatureContract:
    """The tests of every kind."""

    features: ClassVar[list[dict[str, Any]]]
    """Parts of a spec: what the feature is made of beside `FEATURES`, then the feature itself."""
    values: ClassVar[Mapping[str, tuple[Any, Any]]]
    """For each column that the feature is made of, two values that it has to tell apart."""

    @pytest.fixture
    def spec(self) -> RankerSpec:
        return RankerSpec.model_validate(
            {
                "name": "contract",
                "features": [*FEATURES, *self.features],
                "tasks": [{"name": "click", "group": "engagement", "kind": "binary"}],
                "network": {"kind": "mmoe", "shared": [8], "experts": 2, "expert": [4], "tower": [4]},
                "training": {"batch_size": 16},
                "score": {"terms": [{"head": "click"}]},
            }
        )

    @pytest.fixture
    def feature(self, spec: RankerSpec) -> Feature:
        return spec.features[-1]

    @pytest.fixture
    def learned(self, spec: RankerSpec) -> Encoder:
        """An encoder that has seen both values; rows with the first one were clicked."""
        encoder = Encoder(spec)
        log = self.log(20)
        encoder.encode_examples(log, observe=True, labels=label_matrix(log, spec.feedback))
        return encoder

    def log(self, rows: int, *, at_ms: int = FIRST_MS, **columns: Any) -> pa.RecordBatch:
        """Rows with the first and the second value in turn, further and further apart."""
        first = np.arange(rows) % 2 == 0
        data: dict[str, Any] = {
            "time_ms": at_ms + 500 * np.arange(rows) ** 2,
            "user_id": ["u"] * rows,
            "video_id": ["v"] * rows,
            "click": first.astype(np.int8),
        }
        for name, (one, other) in self.values.items():
            data[name] = [one if it else other for it in first]
        return pa.RecordBatch.from_pydict({**data, **columns})

    def inputs(self, encoder: Encoder, batch: pa.RecordBatch) -> dict[Group, Tensor]:
        """What the network is given of rows that the state does not take in, by group."""
        torch.manual_seed(0)
        embedding = FusedEmbedding(encoder.layout, scale=1.0)
        encoded = encoder.encode_examples(batch)
        found = embedding.inputs(encoded, embedding.gather(embedding.rows(encoded)))
        return dict(zip(encoded.groups, found, strict=True))

    def test_a_spec_with_it_reads_back_as_it_was_written(self, spec: RankerSpec) -> None:
        assert parse_spec(dump_spec(spec), where="written") == spec

    def test_a_mistake_in_it_is_answered_with_the_key(self, spec: RankerSpec, feature: Feature) -> None:
        index = len(spec.features) - 1
        name = f"- kind: {feature.kind}\n  name: {feature.name}\n"
        text = dump_spec(spec)
        assert name in text

        with pytest.raises(SpecError, match=rf"features > {index} \('{feature.name}'\): .* found 'colour'"):
            parse_spec(text.replace(name, f"{name}  colour: red\n"), where="mistaken")

    def test_its_parts_are_features_that_there_are(self, spec: RankerSpec, feature: Feature) -> None:
        others = [dict(part) for part in self.features[:-1]]
        needed = [part for part in feature.parts if part in {other["name"] for other in others}]
        for part in needed:
            document = spec.model_dump(mode="json", exclude_none=True)
            document["features"] = [f for f in document["features"] if f["name"] != part]
            with pytest.raises(ValueError, match=f"found '{part}'"):
                RankerSpec.model_validate(document)

    def test_its_group_has_the_sides_of_its_columns(self, spec: RankerSpec, feature: Feature) -> None:
        features = {f.name: f for f in spec.features}
        columns = feature.columns(features)
        group = feature.group(features)

        assert columns
        assert all(isinstance(column, ColumnFeature) for column in columns)
        known = SIDES[group] if group not in (None, Group.PAIR) else tuple(Side)
        assert {column.side for column in columns} <= {*known, *SIDES[Group.REQUEST], *SIDES[Group.PAIR]}
        if group is Group.REQUEST:
            assert {column.side for column in columns} <= {*SIDES[Group.REQUEST]}

    def test_the_input_is_as_wide_as_it_says(self, learned: Encoder, feature: Feature) -> None:
        inputs = self.inputs(learned, self.log(4))
        others = {
            group: sum(learned.layout.width(f) for f in learned.layout.features(group) if f != feature)
            for group in Group
        }

        for group, found in inputs.items():
            own = learned.layout.width(feature) if feature in learned.layout.features(group) else 0
            assert found.shape == (4, others[group] + own)
            assert found.isfinite().all()

    def test_rows_of_tables_are_within_their_range(self, learned: Encoder) -> None:
        missing = {name: pa.nulls(6, self.log(6).schema.field(name).type) for name in self.values}
        for batch in (self.log(6), self.log(6, **missing)):
            for inputs in learned.encode_examples(batch).groups.values():
                rows = list(inputs.singles.items()) + [(bag.width, bag.rows) for bag in inputs.bags]
                for seen in inputs.attended:
                    rows += [(seen.width, part) for part in (seen.entries, seen.ages, seen.candidates)]
                for width, found in rows:
                    assert bool((found >= 0).all())
                    assert bool((found < learned.layout.table_rows[width]).all())

    def test_it_tells_values_apart(self, learned: Encoder, feature: Feature) -> None:
        group = feature.group(learned.layout.by_name)
        batch = self.log(2, at_ms=FIRST_MS + HOUR_MS, time_ms=[FIRST_MS + HOUR_MS] * 2)
        if group is None:
            bias = learned.encode_examples(batch).bias
            assert bias is not None
            assert not torch.equal(bias[0], bias[1])
            return
        first, other = self.inputs(learned, batch)[group]
        assert not torch.equal(first, other)

    def test_what_is_missing_is_told_from_what_is_there(self, learned: Encoder, feature: Feature) -> None:
        group = feature.group(learned.layout.by_name)
        there = self.log(1, at_ms=FIRST_MS + HOUR_MS)
        gaps = {name: pa.nulls(1, there.schema.field(name).type) for name in self.values}
        lacking = self.log(1, at_ms=FIRST_MS + HOUR_MS, **gaps)
        if group is not None:
            assert not torch.equal(self.inputs(learned, there)[group], self.inputs(learned, lacking)[group])

    def test_a_request_is_encoded_as_an_example_is(self, learned: Encoder) -> None:
        row = self.log(1, at_ms=FIRST_MS + HOUR_MS)
        example = learned.encode_examples(row)
        (values,) = row.drop_columns(["time_ms", "click"]).to_pylist()
        request = learned.encode_request(values, [values], time_ms=FIRST_MS + HOUR_MS)

        for group in Group:
            one, other = example.groups[group], request.groups[group]
            assert torch.equal(one.numbers, other.numbers)
            assert all(torch.equal(rows, other.singles[width]) for width, rows in one.singles.items())
            for mine, theirs in zip(one.bags, other.bags, strict=True):
                assert torch.equal(mine.rows, theirs.rows)
            for a, b in zip(one.attended, other.attended, strict=True):
                assert torch.equal(a.entries, b.entries)

    def test_reading_without_labels_changes_nothing(self, learned: Encoder) -> None:
        state, arrays = learned.state(), {name: a.tobytes() for name, a in learned.arrays().items()}
        learned.encode_examples(self.log(6, at_ms=FIRST_MS + HOUR_MS))

        assert learned.state() == state
        assert {name: a.tobytes() for name, a in learned.arrays().items()} == arrays

    def test_what_was_learned_goes_on_from_a_saved_state(self, spec: RankerSpec, learned: Encoder) -> None:
        other = Encoder(spec)
        other.load(learned.state())
        other.load_arrays(learned.arrays())
        batch = self.log(6, at_ms=FIRST_MS + HOUR_MS)

        for group, found in self.inputs(learned, batch).items():
            assert torch.equal(found, self.inputs(other, batch)[group])

    def test_a_feature_of_the_state_learns_from_the_stream(
        self, spec: RankerSpec, learned: Encoder, feature: Feature
    ) -> None:
        if not isinstance(feature, StateFeature):
            pytest.skip("the kind does not learn from the stream")
        group = feature.group(learned.layout.by_name)
        tracker = feature.tracker(learned.layout.by_name, spec.feedback, {})
        batch = self.log(2, at_ms=FIRST_MS + HOUR_MS)
        fresh = Encoder(spec)
        fresh.load(learned.state())

        if tracker is not None:
            assert learned.feature_state.learns
            assert not torch.equal(self.inputs(learned, batch)[group], self.inputs(fresh, batch)[group])

    def test_a_ranker_with_it_learns_and_survives_a_bundle(self, spec: RankerSpec) -> None:
        trainer = Trainer(spec, seed=0)
        for step in range(3):
            trainer.step(self.log(16, at_ms=FIRST_MS + step * HOUR_MS))
        golden = golden_requests(self.log(16), spec, FIRST_MS + 4 * HOUR_MS)
        manifest = Manifest(
            model_version="contract-1", name="x", created_ms=0, watermark_ms=0, rows=1, source="", files={}
        )
        with trainer.exported():
            contents = pack(manifest, trainer.encoder, trainer.model, golden)

        assert unpack(contents, where="test").spec == spec  # it compares the golden predictions
