"""What was changed or lost in a registry is named."""

import os
from pathlib import Path

import fsspec
import pytest

from ranker.bundles.bundle import FILES, MANIFEST, MODEL
from ranker.bundles.registry import Registry
from ranker.errors import BundleError, RegistryError
from tests.ranker.bundles.small_bundle import publish
from tests.ranker.bundles.two_versions import FIRST, FIRST_VERSION, ORDER, SECOND, SECOND_VERSION, files


@pytest.mark.parametrize("name", ORDER)
def test_a_file_that_was_changed_in_place_is_named(url: str, name: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    system, folder = files(url)
    system.pipe_file(f"{folder}/{name}", FIRST[name][:-1] + bytes([FIRST[name][-1] ^ 1]))

    with pytest.raises(BundleError, match=f"{FIRST_VERSION}/{name}: expected "):
        registry.read()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_lost_is_named(url: str, name: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    system, folder = files(url)
    system.rm_file(f"{folder}/{name}")

    with pytest.raises(BundleError, match=f"{FIRST_VERSION}: expected a file {name}, found none"):
        registry.read()


def test_a_folder_without_a_manifest_is_no_bundle(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    publish(registry, SECOND)
    system, folder = files(url)
    system.rm_file(f"{folder}/{MANIFEST}")

    assert registry.versions() == [SECOND_VERSION]
    with pytest.raises(RegistryError, match=f"expected a bundle '{FIRST_VERSION}', found {SECOND_VERSION}"):
        registry.read(FIRST_VERSION)


def test_a_bundle_in_anothers_place_is_refused(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    system, folder = files(url)
    for name, content in SECOND.items():
        system.pipe_file(f"{folder}/{name}", content)

    with pytest.raises(BundleError, match=f"expected version {FIRST_VERSION}, found {SECOND_VERSION}"):
        registry.read(FIRST_VERSION)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'"x"', b"\xff"])
def test_a_damaged_pointer_is_named(url: str, content: bytes) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    system, root = fsspec.core.url_to_fs(url)
    system.pipe_file(f"{root}/current.json", content)

    with pytest.raises(BundleError, match=r"current\.json: expected a version, found "):
        registry.read()


@pytest.mark.parametrize("name", ["current.json", f"bundles/{FIRST_VERSION}/{MODEL}"])
def test_a_pipe_in_place_of_a_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    registry = Registry(str(tmp_path))
    publish(registry, FIRST)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(RegistryError, match=f"{name}: expected a regular file, found a pipe"):
        registry.read()


def test_a_damaged_manifest_hides_no_other_version(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    publish(registry, SECOND)
    system, folder = files(url)
    system.pipe_file(f"{folder}/{MANIFEST}", b"{}")

    assert registry.versions() == [SECOND_VERSION]
    damaged, whole = registry.entries()
    assert (damaged.version, damaged.manifest) == (FIRST_VERSION, None)
    assert f"{FIRST_VERSION}/{MANIFEST}: expected a manifest" in str(damaged.problem)
    assert (whole.version, whole.problem) == (SECOND_VERSION, None)
