"""The peers' features in memory: the network's inputs as float32 rows.

The peers have neither a feature store nor embedding lookups: every user, video, query video and context value
is a row of the network's input. A request's row is the sum of its parts' rows.

Shape letters: N rows of a table, F width of a group.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from load_tests.ranking.world import HOURS, QUERIES, TABS, World
from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.features.sides import Group, Side
from ranker.networks.sharing.layered import LayeredNetwork

CHUNK_ROWS = 2_000


def write_resident(world: World) -> None:
    """Write `resident.npz` and a link to the bundle's weights into the world's folder, for the peers."""
    bundle = Registry(str(world.registry)).read()
    videos = {name: [video[name] for video in world.videos] for name in world.videos[0]}
    users = {name: [user[name] for user in world.users] for name in world.users[0]}
    queries = {f"query_{name}": values[:QUERIES] for name, values in videos.items()}
    missing = _inputs(bundle, Group.REQUEST, {"hour": [None]})
    np.savez(
        world.folder / "resident.npz",
        users=_inputs(bundle, Group.REQUEST, users),
        queries=_inputs(bundle, Group.REQUEST, queries) - missing,
        hours=_inputs(bundle, Group.REQUEST, {"hour": range(HOURS)}) - missing,
        tabs=_inputs(bundle, Group.REQUEST, {"tab": range(TABS)}) - missing,
        videos=_inputs(bundle, Group.CANDIDATE, videos),
        pairs=_inputs(bundle, Group.PAIR, {"retrieval_score": [0.0, 1.0]}),
    )
    weights = world.registry / "bundles" / bundle.manifest.model_version / "model.safetensors"
    (world.folder / "model.safetensors").symlink_to(weights)


def _inputs(bundle: Bundle, group: Group, columns: dict[str, Any]) -> NDArray[np.float32]:
    """Return the first layer's input of a group, (N, F), where all other columns are missing."""
    given = pa.table(columns)
    for feature in bundle.spec.side(*Side):
        if feature.source_column not in columns:
            given = given.append_column(feature.source_column, pa.nulls(len(given)))
    seen: list[torch.Tensor] = []
    network = bundle.model.network
    assert isinstance(network, LayeredNetwork)
    assert network.first is not None
    hook = network.first.register_forward_pre_hook(
        lambda _, groups: seen.append(groups[0][list(Group).index(group)])
    )
    with hook, torch.inference_mode():
        for batch in given.to_batches(max_chunksize=CHUNK_ROWS):
            bundle.model(bundle.encoder.encode_examples(batch))
    return torch.cat(seen).numpy()
