"""Labels and tasks of a spec."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from ranker.spec_model import Duration, Name, SpecModel


class Label(SpecModel):
    """What a viewer did with an impression, as a number: 0 or 1, or an amount."""

    name: Name = Field(description="Unique name.")
    kind: Literal["binary", "regression"]
    label: Name | None = Field(None, description="The records' column with the label; the name by default.")
    transform: Literal["identity", "log1p"] = Field(
        "identity", description="What is learned of a regression label."
    )
    unit: str | None = Field(None, description="Unit of a regression label, e.g. s or stars.")
    label_wait: Duration = Field(
        0.0,
        description="Time after an impression at which its label counts as known to features of the state: "
        "as long as viewers take to give it.",
    )

    @property
    def label_column(self) -> str:
        """The records' column that holds the label."""
        return self.label or self.name

    @model_validator(mode="after")
    def _only_regression_transforms(self) -> Self:
        if self.kind == "binary" and self.transform != "identity":
            raise ValueError(f"'{self.name}': transform is for regression, found kind binary")
        return self


class Task(Label):
    """One thing to predict: a label with a head of the network."""

    group: Literal["engagement", "satisfaction"]
    weight: NonNegativeFloat = Field(1.0, description="Weight of the head's loss.")
    position_bias: bool = Field(False, description="Add the position tower's logit to this head in training.")
