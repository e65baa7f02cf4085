"""Bundles of the small spec with weights drawn at random."""

import torch

from ranker.bundles.bundle import MANIFEST, Request, pack, read_manifest
from ranker.bundles.manifest import Manifest, sha256
from ranker.bundles.registry import Registry
from ranker.features.encoder import Encoder
from ranker.networks.model import RankingModel
from tests.ranker.small_spec import SMALL_SPEC, random_records, request_of

REQUEST, CANDIDATES = request_of(random_records(12, seed=3), 0)
DAY_MS = 86_400_000
WATERMARK_MS = 1_690_000_000_000
GOLDEN_REQUEST = Request(time_ms=WATERMARK_MS, request=REQUEST, candidates=CANDIDATES)


def ranker(seed: int) -> tuple[Encoder, RankingModel]:
    """An encoder that has seen rows, and a network in which every weight matters."""
    torch.manual_seed(seed)
    encoder, model = Encoder(SMALL_SPEC), RankingModel(SMALL_SPEC)
    encoder.encode_examples(random_records(50, seed=seed), observe=True)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return encoder, model.eval()


def packed(seed: int) -> dict[str, bytes]:
    """A bundle's files; a greater seed gives a younger bundle."""
    manifest = Manifest(
        model_version="small-1",
        name="small",
        created_ms=1_700_000_000_000 + seed * DAY_MS,
        watermark_ms=WATERMARK_MS,
        rows=50,
        source="small_bundle.py",
        metrics={"click": {"auc": 0.7, "log_loss": 1e-05}, "rating": {"rmse": None}},
        files={},
    )
    return pack(manifest, *ranker(seed), [GOLDEN_REQUEST])


def publish(registry: Registry, contents: dict[str, bytes]) -> str:
    """Add a bundle and make it the current one; return its version."""
    version = registry.add(contents)
    registry.make_current(version)
    return version


def version_of(contents: dict[str, bytes]) -> str:
    return read_manifest(contents[MANIFEST], where="test").model_version


def resealed(contents: dict[str, bytes], **changed: object) -> dict[str, bytes]:
    """The files with checksums and digest that fit them, and the manifest's fields changed."""
    files = {name: sha256(content) for name, content in contents.items() if name != MANIFEST}
    manifest = Manifest.model_validate_json(contents[MANIFEST])
    sealed = manifest.model_copy(update={"files": files, **changed}).sealed()
    return {**contents, MANIFEST: sealed.to_json()}


OLDEST = packed(seed=1)


def aged(day: int, parent: int | None = None) -> dict[str, bytes]:
    """A bundle of a day; they differ in their version and parent alone, which is quick to make."""
    return resealed(
        OLDEST,
        model_version=f"small-{day}",
        created_ms=1_700_000_000_000 + day,
        parent=None if parent is None else f"small-{parent}",
    )
