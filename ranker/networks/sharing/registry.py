"""The ways of sharing between tasks, by the name that a spec calls them."""

from typing import Final

from ranker.networks.sharing.base import Sharing
from ranker.networks.sharing.mmoe import MMoE
from ranker.networks.sharing.shared_bottom import SharedBottom

KINDS: Final[dict[str, type[MMoE] | type[SharedBottom]]] = {"mmoe": MMoE, "shared_bottom": SharedBottom}

__all__ = ["KINDS", "Sharing"]
