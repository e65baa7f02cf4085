"""What was found when a bundle was compared with the one that ranked, before it was to rank itself."""

from pydantic import BaseModel, ConfigDict, Field

Figures = dict[str, float | None]


class Verdict(BaseModel):
    """Whether a bundle may rank, and the figures that say so; of rows that neither of both had learned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: tuple[str, ...] = Field((), description="Why it was held back; none if it was not.")
    compared_with: str | None = Field(description="The version that ranked; null if nothing was compared.")
    remark: str = Field("", description="Why nothing was compared, or what could not be.")
    rows: int = Field(0, description="Rows that neither had learned when they were predicted.")
    viewers: int = Field(0, description="Viewers of these rows.")
    heads: dict[str, Figures] = Field(
        {},
        description="Of each head: calibration, loss and AUC of the bundle, with `_before` of the one that "
        "ranked, with `_unseen` of what the trainer predicted before it learned from the rows.",
    )
    psi: float | None = Field(None, description="How far scores for recent requests have moved.")
    overlap: float | None = Field(None, description="Share of the top 20 for recent requests that stayed.")

    @property
    def passed(self) -> bool:
        """Whether the bundle may rank."""
        return not self.reasons
