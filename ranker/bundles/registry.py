"""The store of bundles: a folder, or any fsspec URL.

    bundles/VERSION/...   the files of a bundle, which never change once visible
    current.json          the version that is served, replaced atomically

On a local disk a bundle is written to a temporary folder, which is renamed. Elsewhere its manifest is written
last, and a folder without a manifest is ignored.
"""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ranker.bundles.bundle import FILES, MANIFEST, Bundle, read_manifest, unpack
from ranker.bundles.manifest import Manifest
from ranker.errors import BundleError, RegistryError


class Registry:
    """Versions of a ranker.

    Args:
        url: A folder or an fsspec URL such as `s3://bucket/ranker`; created when the first bundle is added.

    Raises:
        RegistryError: fsspec does not support the URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = _reach(self.url)
        self._local = isinstance(self._files, LocalFileSystem)

    def versions(self) -> list[str]:
        """Return all versions, oldest first."""
        try:
            folders = self._files.ls(f"{self._root}/bundles", detail=False)
        except FileNotFoundError:
            return []
        names = [str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in folders]
        manifests = [
            self.manifest(n) for n in names if self._files.exists(f"{self._root}/bundles/{n}/{MANIFEST}")
        ]
        return [m.model_version for m in sorted(manifests, key=lambda m: (m.created_ms, m.model_version))]

    def current(self) -> str:
        """Return the version that is served.

        Raises:
            RegistryError: No bundle was published here.
            BundleError: `current.json` is damaged.
        """
        version = self.current_or_none()
        if version is None:
            raise RegistryError(
                f"{self.url}: expected a registry with a published bundle, found no current.json"
            )
        return version

    def current_or_none(self) -> str | None:
        """Return the version that is served; None if no bundle was published.

        Raises:
            BundleError: `current.json` is damaged.
        """
        try:
            content = self._files.cat_file(f"{self._root}/current.json")
        except FileNotFoundError:
            return None
        try:
            return str(json.loads(content)["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{self.url}/current.json: expected a version, found {content!r:.80}"
            ) from error

    def manifest(self, version: str) -> Manifest:
        """Read and verify a version's manifest.

        Raises:
            RegistryError: There is no such version.
            BundleError: The manifest is damaged.
        """
        try:
            content = self._files.cat_file(f"{self._root}/bundles/{version}/{MANIFEST}")
        except FileNotFoundError as error:
            found = ", ".join(self.versions()) or "none"
            raise RegistryError(f"{self.url}: expected a bundle '{version}', found {found}") from error
        return read_manifest(content, where=f"{self.url}/bundles/{version}")

    def read(self, version: str | None = None) -> Bundle:
        """Read and verify a bundle.

        Args:
            version: The version; None for the current one.

        Raises:
            RegistryError: There is no such version.
            BundleError: The bundle is damaged, incomplete or of another format.
        """
        version = version or self.current()
        where = f"{self.url}/bundles/{version}"
        manifest = self.manifest(version)
        contents = {MANIFEST: self._files.cat_file(f"{self._root}/bundles/{version}/{MANIFEST}")}
        for name in FILES:
            try:
                contents[name] = self._files.cat_file(f"{self._root}/bundles/{version}/{name}")
            except FileNotFoundError as error:
                raise BundleError(f"{where}: expected a file {name}, found none") from error
        if manifest.model_version != version:
            raise BundleError(f"{where}: expected version {version}, found {manifest.model_version}")
        return unpack(contents, where=where)

    def add(self, contents: Mapping[str, bytes]) -> str:
        """Add a bundle without serving it yet.

        Args:
            contents: The files, as returned by `bundle.pack`. They are verified before they are written.

        Returns:
            The version, for `make_current`.

        Raises:
            BundleError: The bundle does not verify; nothing was added.
        """
        version = unpack(contents, where="the new bundle").manifest.model_version
        if not self._files.exists(f"{self._root}/bundles/{version}/{MANIFEST}"):
            self._write(f"{self._root}/bundles/{version}", contents)
        return version

    def make_current(self, version: str) -> None:
        """Serve this version from now on; an earlier one rolls back.

        Raises:
            RegistryError: There is no such version.
        """
        self.manifest(version)
        self._replace(f"{self._root}/current.json", json.dumps({"version": version}).encode())

    def _write(self, folder: str, contents: Mapping[str, bytes]) -> None:
        order = [*(name for name in contents if name != MANIFEST), MANIFEST]
        if not self._local:
            for name in order:
                self._files.pipe_file(f"{folder}/{name}", contents[name])
            return
        fresh = Path(f"{self._root}/.fresh-{uuid.uuid4().hex}")
        fresh.mkdir(parents=True)
        try:
            for name in order:
                _write_synced(fresh / name, contents[name])
            Path(folder).parent.mkdir(exist_ok=True)
            os.replace(fresh, folder)
        except OSError:
            if not Path(folder, MANIFEST).exists():  # else another process added this version first
                raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _replace(self, path: str, content: bytes) -> None:
        if not self._local:
            self._files.pipe_file(path, content)
            return
        fresh = Path(f"{path}.{uuid.uuid4().hex}")
        try:
            _write_synced(fresh, content)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def is_local(url: str) -> bool:
    """Return whether a registry's URL is a local folder."""
    return isinstance(_reach(url)[0], LocalFileSystem)


def _reach(url: str) -> tuple[Any, str]:
    """Return the filesystem of a URL, and the path in it."""
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:  # an unknown protocol, or one whose package is not installed
        raise RegistryError(f"{url}: expected a folder or an fsspec URL, found: {error}") from error
    return files, root
