from pathlib import Path

import pytest

from ranker.bundles.bundle import MANIFEST
from ranker.bundles.prune import prune
from ranker.bundles.registry import Registry
from ranker.errors import RegistryError
from tests.ranker.bundles.small_bundle import aged, version_of


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Seven bundles, of which the second is current and the first its parent."""
    registry = Registry(str(tmp_path))
    for day in range(1, 8):
        registry.add(aged(day, parent=day - 1))
    registry.make_current("small-2")
    return registry


def test_the_newest_the_current_one_and_its_parent_stay(registry: Registry) -> None:
    pruned = prune(registry, keep=2)
    assert pruned.removed == ["small-3", "small-4", "small-5"]
    assert pruned.kept == {
        "small-7": "one of the 2 newest",
        "small-6": "one of the 2 newest",
        "small-2": "current",
        "small-1": "parent of the current one",
    }
    assert registry.versions() == ["small-1", "small-2", "small-6", "small-7"]
    assert registry.read().manifest.model_version == "small-2"


def test_what_a_service_holds_and_what_is_unreadable_stays(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "bundles" / "small-4" / MANIFEST).write_bytes(b"{}")
    with registry.held("small-3"):
        pruned = prune(registry, keep=1)
    assert pruned.removed == ["small-5", "small-6"]
    assert pruned.kept["small-3"] == "in use by a service on this machine"
    assert pruned.kept["small-4"] == "unreadable"


def test_a_dry_run_removes_nothing(registry: Registry) -> None:
    before = registry.versions()
    assert prune(registry, keep=6, dry_run=True).removed == []
    assert prune(registry, keep=1, dry_run=True).removed == ["small-3", "small-4", "small-5", "small-6"]
    assert registry.versions() == before


def test_a_registry_without_a_current_bundle_is_not_pruned(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    registry.add(aged(1))
    with pytest.raises(RegistryError, match=r"found no current\.json"):
        prune(registry, keep=1)
    assert registry.versions() == [version_of(aged(1))]
