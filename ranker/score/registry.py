"""The ways of combining terms that a spec may name; a new one is one file and a line here."""

from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field

from ranker.score.base import ScoreSpec
from ranker.score.product import ProductSpec
from ranker.score.weighted_sum import WeightedSumSpec

Kinds = ProductSpec | WeightedSumSpec
KINDS: Final[tuple[type[ScoreSpec], ...]] = get_args(Kinds)
DEFAULT_COMBINE: Final = "product"
"""What a score combines by that does not say."""


def combine_of(kind: type[ScoreSpec]) -> str:
    """What a spec calls this way of combining."""
    name: str = kind.model_fields["combine"].default
    return name


def _with_combine(given: Any) -> Any:
    return {"combine": DEFAULT_COMBINE, **given} if isinstance(given, dict) else given


AnyScoreSpec = Annotated[Kinds, Field(discriminator="combine"), BeforeValidator(_with_combine)]
"""The part `score` of a spec, and each of its `policies`."""
