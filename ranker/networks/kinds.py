"""The ways of sharing between tasks, by the name that a spec calls them."""

from typing import Final

from ranker.networks.mmoe import MMoE
from ranker.networks.shared import Sharing
from ranker.networks.shared_bottom import SharedBottom

KINDS: Final[dict[str, type[MMoE] | type[SharedBottom]]] = {"mmoe": MMoE, "shared_bottom": SharedBottom}

__all__ = ["KINDS", "Sharing"]
