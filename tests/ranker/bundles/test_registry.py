import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from ranker.bundles.bundle import GOLDEN, MODEL, predict
from ranker.bundles.registry import Registry
from ranker.errors import BundleError, RegistryError
from tests.ranker.bundles.small_bundle import CANDIDATES, REQUEST, publish, ranker
from tests.ranker.bundles.two_versions import FIRST, FIRST_VERSION, SECOND, SECOND_VERSION, files


def test_what_is_published_is_current_and_predicts_the_same(url: str) -> None:
    version = publish(Registry(url), FIRST)

    registry = Registry(url)  # another process
    bundle = registry.read()
    assert version == registry.current() == bundle.manifest.model_version == FIRST_VERSION
    np.testing.assert_array_equal(
        bundle.predict(REQUEST, CANDIDATES), predict(*ranker(seed=1), REQUEST, CANDIDATES)
    )


def test_what_is_added_is_not_live(url: str) -> None:
    registry = Registry(url)
    assert registry.add(FIRST) == FIRST_VERSION
    assert (registry.versions(), registry.current_or_none()) == ([FIRST_VERSION], None)
    registry.make_current(FIRST_VERSION)

    registry.add(SECOND)

    assert (registry.versions(), registry.current()) == ([FIRST_VERSION, SECOND_VERSION], FIRST_VERSION)
    assert registry.read(SECOND_VERSION).manifest.model_version == SECOND_VERSION


def test_versions_are_listed_from_the_oldest(url: str) -> None:
    registry = Registry(url)
    publish(registry, SECOND)
    publish(registry, FIRST)

    assert registry.versions() == [FIRST_VERSION, SECOND_VERSION]
    assert registry.current() == FIRST_VERSION


def test_rolling_back_keeps_every_version(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    publish(registry, SECOND)

    registry.make_current(FIRST_VERSION)

    assert registry.read().manifest.model_version == FIRST_VERSION
    assert registry.read(SECOND_VERSION).manifest.model_version == SECOND_VERSION
    assert registry.versions() == [FIRST_VERSION, SECOND_VERSION]


def test_publishing_the_same_again_changes_nothing(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)

    assert publish(registry, FIRST) == FIRST_VERSION
    assert registry.versions() == [FIRST_VERSION]


def test_an_empty_registry_says_so(url: str) -> None:
    registry = Registry(url)

    assert registry.versions() == []
    assert registry.current_or_none() is None
    with pytest.raises(RegistryError, match=r"expected a registry with a published bundle, found no current"):
        registry.read()
    with pytest.raises(RegistryError, match="expected a bundle 'absent', found none"):
        registry.read("absent")


def test_an_unknown_version_is_answered_with_the_known_ones(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    publish(registry, SECOND)
    message = f"expected a bundle 'absent', found {FIRST_VERSION}, {SECOND_VERSION}"

    for attempt in (registry.read, registry.manifest, registry.make_current):
        with pytest.raises(RegistryError, match=message):
            attempt("absent")
    assert registry.current() == SECOND_VERSION


def test_a_bundle_that_does_not_verify_is_not_published(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)

    with pytest.raises(BundleError, match="the new bundle/model"):
        publish(registry, {**SECOND, MODEL: FIRST[MODEL]})

    assert (registry.versions(), registry.current()) == ([FIRST_VERSION], FIRST_VERSION)


def test_two_may_publish_the_same_version_at_once(url: str) -> None:
    def publish_first(_: int) -> str:
        return publish(Registry(url), FIRST)

    with ThreadPoolExecutor(4) as threads:
        versions = set(threads.map(publish_first, range(8)))

    assert versions == {FIRST_VERSION}
    assert Registry(url).read().manifest.model_version == FIRST_VERSION


def test_losing_a_race_for_the_same_version_is_no_error(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loser = Registry(url)
    write = loser._files.add_folder

    def write_too_late(folder: str, contents: dict[str, bytes], *, last: str) -> None:
        publish(Registry(url), FIRST)
        write(folder, contents, last=last)

    monkeypatch.setattr(loser._files, "add_folder", write_too_late)

    assert publish(loser, FIRST) == FIRST_VERSION
    assert loser.versions() == [FIRST_VERSION]
    assert loser.read().manifest.model_version == FIRST_VERSION
    assert not list(tmp_path.rglob(".fresh-*"))


def test_golden_predictions_are_checked_on_every_reading(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    monkeypatch.setattr("ranker.bundles.bundle.natural_units", lambda output, tasks: output.double().numpy())

    with pytest.raises(BundleError, match=f"{FIRST_VERSION}/{GOLDEN}: request 0: expected predictions"):
        registry.read()


def test_a_folder_is_local_and_memory_is_not(tmp_path: Path) -> None:
    assert Registry(str(tmp_path)).is_local
    assert Registry(tmp_path.as_uri()).is_local
    assert not Registry("memory://registry").is_local


def test_a_version_is_no_path(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    for version in (f"../bundles/{FIRST_VERSION}", ".", "..", f"{FIRST_VERSION}/"):
        with pytest.raises(RegistryError, match=f"expected a bundle '{version}', found {FIRST_VERSION}"):
            registry.make_current(version)


def test_what_is_in_use_is_not_removed_and_the_rest_is(url: str) -> None:
    registry = Registry(url)
    publish(registry, FIRST)
    with pytest.raises(RegistryError, match=f"found '{FIRST_VERSION}' in use"):
        registry.remove(FIRST_VERSION)
    publish(registry, SECOND)
    registry.remove(FIRST_VERSION)
    assert registry.versions() == [SECOND_VERSION]
    assert not files(url)[0].exists(files(url)[1])
    with pytest.raises(RegistryError, match=f"expected a bundle '{FIRST_VERSION}'"):
        registry.remove(FIRST_VERSION)


def test_a_version_is_held_as_long_as_the_context_lasts(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    publish(registry, FIRST)
    publish(registry, SECOND)
    with registry.held(FIRST_VERSION), Registry(str(tmp_path)).held(FIRST_VERSION):
        assert registry.is_held(FIRST_VERSION)
        assert not registry.is_held(SECOND_VERSION)
        with pytest.raises(RegistryError, match="in use"):
            registry.remove(FIRST_VERSION)
    assert not registry.is_held(FIRST_VERSION)
    assert not registry.is_held("absent")
    with registry.held("absent"):
        pass


def test_trying_whether_a_registry_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    Registry(str(tmp_path / "new" / "registry")).check_writable()
    assert list(tmp_path.iterdir()) == []
    Registry("memory://tried").check_writable()
    assert fsspec.filesystem("memory").find("/tried") == []


@pytest.mark.parametrize("name", ["", "bundles"])
def test_a_registry_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "registry"
    if name:
        folder.mkdir()
    (folder / name).write_text("no folder")
    with pytest.raises(RegistryError, match=f"^{folder}.*: expected a registry that can be read and written"):
        Registry(str(folder)).check_writable()


def test_errors_of_a_filesystem_name_the_file_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    class ServerError(Exception):
        """As a filesystem's own errors are."""

    def refuse(path: str) -> bytes:
        raise ServerError("hunter2 is refused\nby the server")

    memory = fsspec.filesystem("memory")
    monkeypatch.setattr(memory, "cat_file", refuse)
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (memory, "/x"))
    registry = Registry("s3://key:hunter2@bucket/x")
    with pytest.raises(
        RegistryError, match=r"^s3://bucket/x/current\.json: .*found: \*\*\* is refused by the"
    ):
        registry.current()


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path))
    publish(registry, FIRST)
    for name in ("old", "new"):
        (tmp_path / f".fresh-{name}").mkdir()
    os.utime(tmp_path / ".fresh-old", (0, 0))
    registry.remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fresh-new", "bundles", "current.json"]
