"""Sizes of the network."""

from typing import Literal

from pydantic import Field, PositiveInt

from ranker.spec_model import SpecModel


class NetworkSpec(SpecModel):
    """Sizes of the network; see `ranker/networks/kinds.py` for the kinds."""

    kind: Literal["mmoe", "shared_bottom"] = Field(
        "mmoe",
        description="mmoe, or shared_bottom: one network for all tasks in place of the experts, of the same "
        "depth and widened until it multiplies as often.",
    )
    shared: tuple[PositiveInt, ...] = Field((256,), description="Widths of the layers below the experts.")
    experts: PositiveInt = Field(8, description="Experts shared by all tasks.")
    expert: tuple[PositiveInt, ...] = Field(
        (128,), min_length=1, description="Widths of each expert's layers."
    )
    tower: tuple[PositiveInt, ...] = Field((64,), description="Widths of each task's own layers.")
    linear: bool = Field(
        True, description="A linear part from the input straight to every head, beside the rest."
    )
    gate_dropout: float = Field(
        0.1, ge=0, lt=1, description="Chance that a gate ignores an expert in training."
    )
    position_dropout: float = Field(
        0.1, ge=0, le=1, description="Chance that a row's position is hidden in training."
    )
