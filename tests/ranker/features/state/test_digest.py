"""Which changes of a spec make another state of it."""

import pytest

from ranker.features.layout import Layout
from ranker.features.state.feature_state import FeatureState
from ranker.spec_file import parse_spec
from tests.ranker.features.state.small_state import STATE_YAML


def digest_of(yaml: str) -> str:
    spec = parse_spec(yaml, where="test")
    return FeatureState(spec, Layout(spec)).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("half_lives: [1m]", "half_lives: [2m]"),
        ("labels: [click], half_lives: [1m]", "labels: [like], half_lives: [1m]"),
        ("capacity: 3}", "capacity: 4}"),
        ("label_wait: 60s", "label_wait: 61s"),
        ("transform: log1p, unit: s", "unit: s"),
        ("edges: [10, 60]", "edges: [10, 61]"),
        ("max_items: 3", "max_items: 2"),
        ("column: duration_s", "column: length_s"),
        ("above: 5, length: 2", "above: 6, length: 2"),
        ("length: 3}", "length: 5}"),
        ("of: [user_id, author_id]", "of: [user_id, video_id]"),
        ("name: user_age", "name: viewer_age"),
        ("name: state\n", "name: state\nhash_seed: 5\n"),
        ("{name: skip, kind: binary,", "{name: skip, kind: binary, column: passed,"),
    ],
)
def test_what_the_state_is_made_of_changes_its_digest(old: str, new: str) -> None:
    assert old in STATE_YAML
    assert digest_of(STATE_YAML.replace(old, new)) != digest_of(STATE_YAML)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: state\n", "name: other\nnetwork: {shared: [7]}\n"),
        ("prior_strength: 5", "prior_strength: 50"),
        (", prior: user_rates", ""),
        ("length: 3}", "length: 3, pool: attention}"),
        ("buckets: 32, dim: 4", "buckets: 64, dim: 4"),
        ("since: uploaded_ms}", "since: uploaded_ms}\n  - {name: country, side: user, kind: category}"),
        ("{name: click, group: engagement,", "{name: click, group: satisfaction, weight: 3,"),
    ],
)
def test_what_only_reads_the_state_does_not(old: str, new: str) -> None:
    assert old in STATE_YAML
    assert digest_of(STATE_YAML.replace(old, new)) == digest_of(STATE_YAML)
