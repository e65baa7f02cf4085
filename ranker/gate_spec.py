"""The part of the spec that says which new bundles are held back."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from ranker.spec_model import SpecModel

OFF: Final = "off"


class GateSpec(SpecModel):
    """When a new bundle is held back, compared with the one that ranks, on the newest rows.

    A difference counts if it is sure: if the whole of its 95 % interval over viewers is beyond the bound.
    """

    rows: PositiveInt = Field(5_000, description="How many of the newest rows both are compared on.")
    loss: NonNegativeFloat = Field(
        0.05,
        description="Share by which a head's loss may be greater than that of the bundle that ranks.",
    )
    auc: NonNegativeFloat = Field(0.01, description="How much lower the AUC of a head may be.")
    auc_fall: NonNegativeFloat = Field(
        0.1,
        description="How much lower the AUC on rows not yet learned may be than it was when the bundle that "
        "ranks was published: beyond, the labels themselves are doubtful.",
    )
    calibration: float = Field(
        2.0,
        ge=1,
        description="Factor between mean prediction and mean label; a larger one holds back if it grew.",
    )
    shift: float = Field(
        3.0,
        ge=1,
        description="Factor by which a head's mean prediction for recent requests may change; the odds of a "
        "probability. This and what "
        "follows hold back only bundles that are not surely better.",
    )
    psi: PositiveFloat = Field(
        1.0, description="Population stability index of the scores for recent requests, at most."
    )
    overlap: float = Field(
        0.2, ge=0, le=1, description="Share of the top 20 for recent requests that has to stay, on average."
    )


def _text(given: object) -> object:
    return OFF if given is False else given  # YAML's `off` without quotes


Gate = Annotated[GateSpec | Literal["off"], BeforeValidator(_text)]
"""The type of `gate` in a spec."""
