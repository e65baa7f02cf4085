"""Reading the bundle to serve: the current one, or at the start another in place of a damaged one."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Entry, Registry
from ranker.errors import BundleError, RegistryError, UnansweredError
from serving.sync.bounded_call import call_bounded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedBundle:
    """A verified bundle that no process of this machine removes until it is closed.

    Attributes:
        bundle: The bundle.
        hold: What keeps it from being removed.
        in_place_of: The registry's current version, if that does not verify and this one stands in for it.
    """

    bundle: Bundle
    hold: ExitStack
    in_place_of: str | None = None

    @classmethod
    def open(cls, registry: Registry, version: str, *, in_place_of: str | None = None) -> Self:
        """Read and verify a bundle.

        Raises:
            RegistryError: There is no such version, or it cannot be read.
            BundleError: It does not verify.
        """
        with ExitStack() as hold:
            hold.enter_context(registry.held(version))
            bundle = registry.read(version)
            return cls(bundle, hold.pop_all(), in_place_of)


def open_in_time(registry: Registry, *, ask_s: float, read_s: float) -> OpenedBundle:
    """Open the newest bundle as `open_newest` does, with limits to the wait.

    Args:
        registry: The registry.
        ask_s: How long it may take to say which version is current.
        read_s: How long it may take to give a bundle.

    Raises:
        UnansweredError: It takes longer.
    """
    try:
        call_bounded(registry.shown, registry.current_or_none, ask_s)
    except UnansweredError:
        raise
    except (BundleError, RegistryError):
        logger.debug("the registry does not say which version is current", exc_info=True)
    return call_bounded(registry.shown, partial(open_newest, registry), read_s)


def open_newest(registry: Registry) -> OpenedBundle:
    """Read the current bundle; if it does not verify, the newest other one that does.

    Another ranker's bundle, one with another name, is no substitute, nor is one that was held back.
    Bundles that are younger than the current one come last: somebody has rolled back from them.

    Raises:
        RegistryError: The registry has no bundle, or cannot be read.
        BundleError: No bundle verifies; the error is that of the current one.
    """
    current: str | None = None
    try:
        current = registry.current_or_none()
        if current is not None:
            return OpenedBundle.open(registry, current)
    except (BundleError, RegistryError) as error:
        for version in _substitutes(registry, current):
            try:
                opened = OpenedBundle.open(registry, version, in_place_of=current)
            except (BundleError, RegistryError) as other:
                logger.warning("%s cannot stand in: %s", version, other)
                continue
            logger.error("THE CURRENT BUNDLE CANNOT BE READ, %s ranks in its place: %s", version, error)
            return opened
        raise
    return OpenedBundle.open(registry, registry.current())  # which says that nothing was published


def _substitutes(registry: Registry, current: str | None) -> Iterator[str]:
    entries = registry.entries()
    damaged = next((entry for entry in entries if entry.version == current), None)
    named = _by_name(entries)
    if current is not None:
        candidates = named.get(_name(damaged, current), [])
    else:
        candidates = next(iter(named.values())) if len(named) == 1 else []
    limit = damaged.manifest.created_ms if damaged and damaged.manifest else float("inf")
    newest_first = sorted(candidates, key=lambda entry: (_created(entry) <= limit, entry.age_order))[::-1]
    return (entry.version for entry in newest_first if entry.version != current)


def _by_name(entries: list[Entry]) -> dict[str, list[Entry]]:
    named: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.manifest is not None and not entry.manifest.held_back:
            named.setdefault(entry.manifest.name, []).append(entry)
    return named


def _name(damaged: Entry | None, version: str) -> str:
    """The name of a damaged bundle's ranker; its version begins with it."""
    return damaged.manifest.name if damaged and damaged.manifest else version.rsplit("-", 2)[0]


def _created(entry: Entry) -> int:
    assert entry.manifest is not None
    return entry.manifest.created_ms
