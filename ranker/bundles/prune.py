"""Removing old bundles from a registry."""

from dataclasses import dataclass

from ranker.bundles.registry import Registry
from ranker.errors import BundleError


@dataclass(frozen=True)
class Pruned:
    """What was done.

    Attributes:
        removed: Versions that were removed, the oldest first.
        kept: Those that stay, the newest first, with the reason.
    """

    removed: list[str]
    kept: dict[str, str]


def prune(registry: Registry, *, keep: int, dry_run: bool = False) -> Pruned:
    """Remove all but the newest bundles.

    The current bundle and its parent stay, so that a roll back is possible, and so does what a service on
    this machine holds. Use by services on other machines cannot be seen. What cannot be read stays, too:
    another version of watchnext may be able to.

    Args:
        registry: The registry.
        keep: So many of the newest stay.
        dry_run: Whether to remove nothing and only say what would be.

    Raises:
        RegistryError: The registry has no current bundle, or cannot be read or written.
        BundleError: `current.json` is damaged.
    """
    current = registry.current()
    try:
        parent = registry.manifest(current).parent
    except BundleError:
        parent = None
    entries = registry.entries()[::-1]
    newest = [entry.version for entry in entries if entry.manifest is not None][:keep]
    kept: dict[str, str] = {}
    for entry in entries:
        if entry.version == current:
            kept[entry.version] = "current"
        elif entry.version == parent:
            kept[entry.version] = "parent of the current one"
        elif entry.manifest is None:
            kept[entry.version] = "unreadable"
        elif entry.version in newest:
            kept[entry.version] = f"one of the {keep} newest"
        elif registry.is_held(entry.version):
            kept[entry.version] = "in use by a service on this machine"
    removed = [entry.version for entry in entries[::-1] if entry.version not in kept]
    if not dry_run:
        for version in removed:
            registry.remove(version)
        registry.remove_leftovers()
    return Pruned(removed, kept)
