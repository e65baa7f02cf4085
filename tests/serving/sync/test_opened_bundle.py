import os
import shutil
import threading

import pytest

from ranker.bundles.bundle import MANIFEST, MODEL
from ranker.bundles.registry import Registry
from ranker.bundles.verdict import Verdict
from ranker.errors import BundleError, RegistryError, UnansweredError
from serving.sync.opened_bundle import open_in_time, open_newest
from tests.ranker.bundles.small_bundle import aged, resealed


@pytest.fixture
def registry(tmp_path):
    """Four bundles, of which the third is current: the fourth was rolled back from."""
    registry = Registry(str(tmp_path))
    for day in range(1, 5):
        registry.add(aged(day))
    registry.make_current("small-3")
    return registry


def damage(tmp_path, version, name=MODEL):
    (tmp_path / "bundles" / version / name).write_bytes(b"{}")


def opened(registry):
    found = open_newest(registry)
    assert registry.is_held(found.bundle.manifest.model_version)
    found.hold.close()
    assert not registry.is_held(found.bundle.manifest.model_version)
    return found.bundle.manifest.model_version, found.in_place_of


def test_the_current_bundle_is_opened(registry):
    assert opened(registry) == ("small-3", None)


def test_in_place_of_a_damaged_one_comes_the_newest_older_one_that_verifies(registry, tmp_path, caplog):
    damage(tmp_path, "small-3")
    assert opened(registry) == ("small-2", "small-3")
    damage(tmp_path, "small-2")
    assert opened(registry) == ("small-1", "small-3")
    assert "small-2 cannot stand in: " in caplog.text
    damage(tmp_path, "small-1")
    assert opened(registry) == ("small-4", "small-3")
    damage(tmp_path, "small-4")
    with pytest.raises(BundleError, match=f"small-3/{MODEL}: expected sha256"):
        open_newest(registry)


def test_one_that_was_held_back_does_not_stand_in(registry, tmp_path):
    verdict = Verdict(compared_with="small-3", reasons=("click: expected better, found worse",))
    newer = resealed(aged(2), model_version="small-2b", created_ms=1_700_000_000_002, gate=verdict)
    registry.add(newer)
    damage(tmp_path, "small-3")
    assert opened(registry) == ("small-2", "small-3")


@pytest.mark.parametrize("gone", [False, True])
def test_without_its_manifest_the_newest_comes(registry, tmp_path, gone):
    if gone:
        shutil.rmtree(tmp_path / "bundles" / "small-3")
    else:
        damage(tmp_path, "small-3", MANIFEST)
    assert opened(registry) == ("small-4", "small-3")


def test_a_damaged_pointer_is_stood_in_for_if_there_is_but_one_ranker(registry, tmp_path):
    (tmp_path / "current.json").write_text("no JSON")
    assert opened(registry) == ("small-4", None)


def test_another_ranker_is_no_substitute(registry, tmp_path):
    for version in ("small-1", "small-2", "small-4"):
        registry.remove(version)
    registry.add(resealed(aged(9), model_version="other-9", name="other"))
    damage(tmp_path, "small-3")
    with pytest.raises(BundleError, match="small-3"):
        open_newest(registry)
    (tmp_path / "current.json").write_text("no JSON")
    with pytest.raises(BundleError, match=r"current\.json"):
        open_newest(registry)


def test_a_pipe_in_place_of_the_pointer_is_stood_in_for(registry, tmp_path):
    (tmp_path / "current.json").unlink()
    os.mkfifo(tmp_path / "current.json")
    found = open_in_time(registry, ask_s=60, read_s=60)
    found.hold.close()
    assert found.bundle.manifest.model_version == "small-4"


def test_a_registry_that_hangs_is_not_waited_for(registry, monkeypatch):
    monkeypatch.setattr(Registry, "current_or_none", lambda _: threading.Event().wait())
    with pytest.raises(UnansweredError, match=rf"^{registry.shown}: expected an answer within 0\.01 s"):
        open_in_time(registry, ask_s=0.01, read_s=60)


def test_what_was_never_published_is_not_served(tmp_path):
    registry = Registry(str(tmp_path))
    registry.add(aged(1))
    with pytest.raises(RegistryError, match="expected a registry with a published bundle"):
        open_newest(registry)
