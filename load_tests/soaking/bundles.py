"""The bundles of the hot swaps: with other weights, with other records, and a damaged one."""

from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import torch

from load_tests.ranking.reference import publish
from load_tests.ranking.world import World
from ranker.bundles.bundle import MANIFEST, MODEL, Request, pack, unpack
from ranker.bundles.registry import Registry
from ranker.features.kinds.category import CategoryFeature
from ranker.features.kinds.number import NumberFeature
from ranker.networks.sharing.layered import LayeredNetwork
from ranker.spec_file import dump_spec, load_spec

AS_CATEGORIES: Final = ("age", "age_days")
"""Number columns that are categories in the bundle with other records."""
NOISE: Final = 0.05
"""Noise relative to a tensor's standard deviation, large enough to tell the versions' answers apart."""
SHIFT: Final = 0.7
"""Standard deviation of the noise that is added to the outputs, in logits."""
Files = dict[str, bytes]


def varied(world: World, seed: int) -> tuple[str, Files]:
    """Return the version and files of an unpublished bundle of the same spec with other weights."""
    bundle = Registry(str(world.registry)).read()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in bundle.model.named_parameters():
            if not name.startswith("embedding"):
                weight.add_(torch.randn(weight.shape, generator=draw) * weight.std() * NOISE)
        network = bundle.model.network
        assert isinstance(network, LayeredNetwork)
        assert network.linear is not None
        bias = network.linear.linear.bias
        bias.add_(torch.randn(bias.shape, generator=draw) * SHIFT)
    manifest = bundle.manifest.model_copy(update={"model_version": f"varied-{seed}"})
    files = pack(manifest, bundle.encoder, bundle.model, [_golden(world)])
    return unpack(files, where="the varied bundle").manifest.model_version, files


def publish_other_records(world: World, spec_file: Path) -> str:
    """Publish a bundle with other layouts of stored records, and return its version.

    Args:
        world: The world with the registry, in which the bundle becomes the current one.
        spec_file: File to write its spec to, for loading features.
    """
    spec = load_spec(str(world.folder / "spec.yaml"))
    features = [
        CategoryFeature(name=f.name, side=f.side, kind="category")
        if isinstance(f, NumberFeature) and f.name in AS_CATEGORIES
        else f
        for f in spec.features
    ]
    spec = spec.model_copy(update={"features": tuple(features)})
    spec_file.write_text(dump_spec(spec))
    log = pq.read_table(world.folder / "data" / "events.parquet").combine_chunks().to_batches()[0]
    return publish(world.registry, spec, log, _golden(world))


def write_damaged(world: World, version: str, files: Files) -> None:
    """Write a bundle with a flipped bit in its weights, without the registry's checks."""
    folder = world.registry / "bundles" / version
    folder.mkdir()
    weights = bytearray(files[MODEL])
    weights[len(weights) // 2] ^= 0x40
    for name, content in (files | {MODEL: bytes(weights)}).items():
        if name != MANIFEST:
            (folder / name).write_bytes(content)
    (folder / MANIFEST).write_bytes(files[MANIFEST])


def _golden(world: World) -> Request:
    whole = world.joined(world.requests[0])
    return whole.model_copy(update={"candidates": whole.candidates[:4]})
