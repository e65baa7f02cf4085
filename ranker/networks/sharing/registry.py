"""The kinds of networks that a spec may name; a new kind is one file and a line here."""

from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field

from ranker.networks.sharing.base import NetworkSpec
from ranker.networks.sharing.mmoe import MMoESpec
from ranker.networks.sharing.shared_bottom import SharedBottomSpec

Kinds = MMoESpec | SharedBottomSpec
KINDS: Final[tuple[type[NetworkSpec], ...]] = get_args(Kinds)
DEFAULT_KIND: Final = "mmoe"
"""The kind of a spec that names none."""


def kind_named(name: str) -> type[NetworkSpec]:
    """Return the kind of network with this name in a spec."""
    return next(kind for kind in KINDS if kind.model_fields["kind"].default == name)


def kind_names() -> list[str]:
    """Return the names of all kinds."""
    return [kind.model_fields["kind"].default for kind in KINDS]


def _with_kind(given: Any) -> Any:
    return {"kind": DEFAULT_KIND, **given} if isinstance(given, dict) else given


AnyNetworkSpec = Annotated[Kinds, Field(discriminator="kind"), BeforeValidator(_with_kind)]
"""The type of `network` in a spec."""
