"""The kinds of networks that a spec may name; a new kind is one file and a line here."""

from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field

from ranker.networks.sharing.base import NetworkSpec
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.shared_bottom import SharedBottomSpec

Kinds = MMoESpec | SharedBottomSpec
KINDS: Final[tuple[type[NetworkSpec], ...]] = get_args(Kinds)
DEFAULT_KIND: Final = "mmoe"
"""What a spec has that names no kind."""


def kind_named(name: str) -> type[NetworkSpec]:
    """The kind of network that a spec calls by this name."""
    return next(kind for kind in KINDS if kind.model_fields["kind"].default == name)


def kind_names() -> list[str]:
    """What a spec may call a network."""
    return [kind.model_fields["kind"].default for kind in KINDS]


def _with_kind(given: Any) -> Any:
    return {"kind": DEFAULT_KIND, **given} if isinstance(given, dict) else given


AnyNetworkSpec = Annotated[Kinds, Field(discriminator="kind"), BeforeValidator(_with_kind)]
"""The part `network` of a spec."""
