"""The store of bundles: a folder, or any fsspec URL.

    bundles/VERSION/...   the files of a bundle, which never change once visible
    current.json          the version that is served, replaced atomically

On a local disk a bundle is written to a temporary folder, which is renamed. Elsewhere its manifest is written
last, and a folder without a manifest is ignored.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from ranker.bundles.bundle import FILES, MANIFEST, Bundle, read_manifest, unpack
from ranker.bundles.manifest import Manifest
from ranker.bundles.storage import open_storage
from ranker.errors import BundleError, LocationError, RegistryError
from ranker.files.location import locate
from ranker.files.secrets import shown

CURRENT = "current.json"
ROLLED_BACK = "rolled_back_from"


@dataclass(frozen=True)
class Entry:
    """A version that a registry has.

    Attributes:
        version: Its name.
        manifest: Its verified manifest; None if that is damaged or of another format.
        problem: What is wrong with the manifest; None if nothing is.
    """

    version: str
    manifest: Manifest | None = None
    problem: str | None = None

    @property
    def age_order(self) -> tuple[int, str]:
        """Sorts entries from the oldest to the newest, those without a manifest first."""
        return (self.manifest.created_ms if self.manifest else -1, self.version)


class Registry:
    """Versions of a ranker.

    Args:
        url: A folder or an fsspec URL such as `s3://bucket/ranker`; created when the first bundle is added.

    Attributes:
        url: As given.
        shown: The URL without passwords, for messages.

    Raises:
        RegistryError: fsspec does not support the URL.
    """

    def __init__(self, url: str) -> None:
        stripped = url.rstrip("/")
        self.url = url if not stripped or stripped.endswith(":") else stripped
        self.shown = shown(self.url)
        try:
            location = locate(self.url)
        except LocationError as error:
            raise RegistryError(str(error)) from error
        self.is_local = location.is_local
        self._files = open_storage(self.url, location)

    def versions(self) -> list[str]:
        """Return all versions whose manifest verifies, oldest first."""
        return [entry.version for entry in self.entries() if entry.manifest is not None]

    def entries(self) -> list[Entry]:
        """Return all versions, also those whose manifest cannot be read: these first, then oldest first.

        Raises:
            RegistryError: The registry cannot be read.
        """
        found = (self._entry(name) for name in self._files.names("bundles"))
        return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.age_order)

    def current(self) -> str:
        """Return the version that is served.

        Raises:
            RegistryError: No bundle was published here, or the registry cannot be read.
            BundleError: `current.json` is damaged.
        """
        version = self.current_or_none()
        if version is None:
            raise RegistryError(
                f"{self.shown}: expected a registry with a published bundle, found no {CURRENT}"
            )
        return version

    def current_or_none(self) -> str | None:
        """Return the version that is served; None if no bundle was published.

        Raises:
            RegistryError: The registry cannot be read.
            BundleError: `current.json` is damaged.
        """
        try:
            content = self._files.read(CURRENT)
        except FileNotFoundError:
            return None
        try:
            version = json.loads(content)["version"]
            if isinstance(version, str):
                return version
        except (ValueError, KeyError, TypeError):
            pass
        raise BundleError(
            f"{self.shown}/{CURRENT}: expected a version, found {content!r:.80}; "
            "`watchnext bundles rollback VERSION` makes one current"
        )

    def manifest(self, version: str) -> Manifest:
        """Read and verify a version's manifest.

        Raises:
            RegistryError: There is no such version.
            BundleError: The manifest is damaged.
        """
        return read_manifest(self._manifest_content(version), where=self._where(version))

    def read(self, version: str | None = None) -> Bundle:
        """Read and verify a bundle.

        Args:
            version: The version; None for the current one.

        Raises:
            RegistryError: There is no such version.
            BundleError: The bundle is damaged, incomplete or of another format.
        """
        version = version or self.current()
        return unpack(self.contents(version), where=self._where(version))

    def contents(self, version: str) -> dict[str, bytes]:
        """Read a bundle's files, such as to add it to another registry, which verifies them.

        Raises:
            RegistryError: There is no such version.
            BundleError: The manifest is damaged or a file is missing.
        """
        where = self._where(version)
        contents = {MANIFEST: self._manifest_content(version)}
        manifest = read_manifest(contents[MANIFEST], where=where)
        for name in FILES:
            try:
                contents[name] = self._files.read(f"bundles/{version}/{name}")
            except FileNotFoundError as error:
                raise BundleError(f"{where}: expected a file {name}, found none") from error
        if manifest.model_version != version:
            raise BundleError(f"{where}: expected version {version}, found {manifest.model_version}")
        return contents

    def add(self, contents: Mapping[str, bytes]) -> str:
        """Add a bundle without serving it yet.

        Args:
            contents: The files, as returned by `bundle.pack`. They are verified before they are written.

        Returns:
            The version, for `make_current`.

        Raises:
            BundleError: The bundle does not verify; nothing was added.
            RegistryError: It cannot be written; nothing was added.
        """
        version = unpack(contents, where="the new bundle").manifest.model_version
        try:
            self._files.read(f"bundles/{version}/{MANIFEST}")
        except FileNotFoundError:
            self._files.add_folder(f"bundles/{version}", contents, last=MANIFEST)
        return version

    def make_current(self, version: str, *, rolls_back: bool = False) -> str | None:
        """Serve this version from now on; an earlier one rolls back.

        Args:
            version: The version.
            rolls_back: Whether the one that was current was not to rank; see `is_rolled_back_from`.

        Returns:
            The version that was current; None if there was none, or its pointer is damaged.

        Raises:
            RegistryError: There is no such version, or the registry cannot be written.
        """
        self.manifest(version)
        try:
            before = self.current_or_none()
        except BundleError:
            before = None
        pointer = {"version": version} | ({ROLLED_BACK: before} if rolls_back and before else {})
        self._files.replace(CURRENT, json.dumps(pointer).encode())
        return before

    def is_rolled_back_from(self, version: str) -> bool:
        """Whether the current version took the place of this one because somebody chose so."""
        try:
            return bool(json.loads(self._files.read(CURRENT)).get(ROLLED_BACK) == version)
        except (FileNotFoundError, ValueError, AttributeError):
            return False

    def remove(self, version: str) -> None:
        """Remove a version that is neither current nor held.

        Raises:
            RegistryError: There is no such version, or it is in use.
        """
        self._manifest_content(version)
        if version == self.current_or_none() or self.is_held(version):
            raise RegistryError(
                f"{self.shown}: expected a version that is not in use, found '{version}' in use"
            )
        self._files.remove_folder(f"bundles/{version}", first=MANIFEST)

    def held(self, version: str) -> AbstractContextManager[None]:
        """Keep a version from being removed by a process of this machine, as long as the context lasts."""
        return self._files.held(f"bundles/{version}/{MANIFEST}")

    def is_held(self, version: str) -> bool:
        """Whether a living process of this machine holds a version; False in a registry that is no folder."""
        return self._files.is_held(f"bundles/{version}/{MANIFEST}")

    def check_writable(self) -> None:
        """Try that a bundle can be published here, before the work that makes one; nothing stays.

        Raises:
            RegistryError: The registry cannot be written.
            BundleError: `current.json` is damaged.
        """
        self.current_or_none()
        self._files.check_writable()

    def remove_leftovers(self) -> None:
        """Remove what killed processes have left."""
        self._files.remove_leftovers()

    def _entry(self, name: str) -> Entry | None:
        """The version of a folder; None if it has no manifest, and so is no bundle."""
        try:
            return Entry(name, read_manifest(self._content(name), where=self._where(name)))
        except FileNotFoundError:
            return None
        except (BundleError, RegistryError) as error:
            return Entry(name, problem=str(error))

    def _manifest_content(self, version: str) -> bytes:
        """Read a version's manifest.

        Raises:
            RegistryError: There is no such version.
        """
        try:
            return self._content(version)
        except FileNotFoundError as error:
            found = ", ".join(self.versions()) or "none"
            raise RegistryError(f"{self.shown}: expected a bundle '{version}', found {found}") from error

    def _content(self, version: str) -> bytes:
        if "/" in version or version in ("", ".", ".."):
            raise FileNotFoundError(version)
        return self._files.read(f"bundles/{version}/{MANIFEST}")

    def _where(self, version: str) -> str:
        return f"{self.shown}/bundles/{version}"
