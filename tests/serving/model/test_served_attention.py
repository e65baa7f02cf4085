"""Candidates attend to the viewer's history in the service as in the bundle."""

import numpy as np
import pyarrow as pa

from ranker.features.sides import Group
from tests.ranker.networks.attending import attending_spec
from tests.ranker.small_spec import random_records
from tests.serving.ranked_world import World, bundle_of, close


def bundle_that_knows_a_viewer():
    """The bundle's state has seen what the viewer of every request, u, was shown and clicked."""
    bundle = bundle_of(attending_spec())
    seen = {"user_id": ["u"] * 60, "video_id": [f"v{place % 30}" for place in range(60)]}
    records = random_records(60, seed=5).to_pydict() | seen
    labels = np.random.default_rng(0).integers(0, 2, (60, len(bundle.spec.tasks))).astype(np.float32)
    bundle.encoder.encode_examples(pa.RecordBatch.from_pydict(records), labels=labels)
    return bundle


def test_whatever_a_request_is_ranked_with_its_predictions_are_the_bundles():
    world = World(bundle_that_knows_a_viewer(), seed=1)
    batch = [world.ask() for _ in range(4)]

    for found, (_, columns) in zip(
        world.model.predict([request for request, _ in batch]), batch, strict=True
    ):
        pairs = world.bundle.encoder.encode_request(*columns).groups[Group.PAIR]
        assert [history.there.sum().item() for history in pairs.attended] == [6, 4]
        close(found, world.expected(columns))
