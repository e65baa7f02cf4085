"""How the predictions become the one number that candidates are ranked by."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from ranker.spec_model import Name, SpecModel, refuse_doubles


class ScoreTerm(SpecModel):
    """One head's part in the score."""

    head: Name = Field(description="The task whose prediction is used.")
    weight: float = Field(1.0, description="Power (product) or factor (sum); negative to push down.")
    offset: float = Field(0.0, description="Added after the transform.")
    transform: Literal["identity", "log1p", "clip", "logit", "divide"] = Field("identity")
    low: float = Field(0.0, description="clip: the least value.")
    high: float | None = Field(None, description="clip: the greatest value.")
    scale: PositiveFloat = Field(1.0, description="divide: the divisor, in the prediction's unit.")

    @model_validator(mode="after")
    def _clip_has_bounds(self) -> Self:
        if self.transform == "clip" and (self.high is None or self.high <= self.low):
            raise ValueError(
                f"term '{self.head}': clip expects 'high' above 'low', found low {self.low}, high {self.high}"
            )
        return self


class ScoreSpec(SpecModel):
    """How the predictions become the one number that candidates are ranked by."""

    combine: Literal["product", "sum"] = Field(
        "product", description="product of (offset + transform(prediction))^weight, or their weighted sum."
    )
    terms: tuple[ScoreTerm, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _heads_once_and_bases_positive(self) -> Self:
        refuse_doubles([term.head for term in self.terms], "score terms for head")
        for term in self.terms:
            if self.combine == "product" and term.transform == "logit":
                raise ValueError(
                    f"term '{term.head}': a logit can be negative, and product expects positive bases; "
                    "use combine: sum or another transform"
                )
            if self.combine == "product" and term.offset < 0:
                raise ValueError(f"term '{term.head}': product expects offset >= 0, found {term.offset}")
        return self
