"""Features that learn from the stream: what they are made of, and how long they remember."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ranker.spec_model import Duration, Name, SpecModel

HalfLife = Annotated[Duration, Field(gt=0)]


class RateFeature(SpecModel):
    """How labels went lately wherever the key was shown: decayed, smoothed rates and the count behind them.

    Each label has for each half-life a rate (S + strength * prior) / (N + strength), where S and N are sums
    of the label and of rows, halved with every half-life, and the prior is the same rate of all rows, or of
    those with the same part of the key (`toward`). The network gets the log-odds of a binary label's rate,
    the mean of a regression label, and log(1 + N) of the first label.
    """

    kind: Literal["rate"]
    name: Name = Field(description="Unique name.")
    of: tuple[Name, ...] = Field(
        min_length=1,
        description="The key: features of kind id, ids, category or bin; several for their combination, such "
        "as the viewer with the author. Of a list, what is known of its items is added up.",
    )
    labels: tuple[Name, ...] = Field(min_length=1, description="Tasks and other labels that are counted.")
    half_lives: tuple[HalfLife, ...] = Field(
        ("7d",), min_length=1, validate_default=True, description="Times after which a row counts half."
    )
    strength: PositiveFloat | dict[Name, PositiveFloat] = Field(
        20.0, description="How many rows the prior is worth; for each label, or for all."
    )
    toward: Name | None = Field(
        None,
        description="Another rate whose key is a part of this one, such as the viewer's: its rates are the "
        "prior in place of those of all rows.",
    )
    capacity: PositiveInt = Field(
        1_000_000, description="Keys that are kept; the least recently used is forgotten first."
    )

    @model_validator(mode="after")
    def _strengths_of_its_labels(self) -> Self:
        strengths = self.strength if isinstance(self.strength, dict) else dict.fromkeys(self.labels)
        for label in strengths:
            if label not in self.labels:
                raise ValueError(
                    f"feature '{self.name}': strength expects labels out of {', '.join(self.labels)}, "
                    f"found '{label}'"
                )
        lacking = [label for label in self.labels if label not in strengths]
        if lacking:
            raise ValueError(
                f"feature '{self.name}': strength expects all labels, found none for '{lacking[0]}'"
            )
        return self


class HistoryFeature(SpecModel):
    """The viewer's last videos of one kind of feedback, newest first, with their ages.

    Their embeddings come from the table of `of`, the ages' from one of their own, in steps of powers of two.
    """

    kind: Literal["history"]
    name: Name = Field(description="Unique name.")
    of: Name = Field(
        description="What is remembered of a video: a feature of side candidate and kind id; or, for the "
        "mean, ids, of which each item is an entry."
    )
    label: Name | None = Field(None, description="The label that admits a video; without it, all shown.")
    above: float = Field(0.0, description="What the label must be greater than.")
    below: float | None = Field(None, description="In place of `above`: what the label must be less than.")
    length: PositiveInt = Field(20, le=256, description="Videos that are remembered.")
    pool: Literal["mean", "attention"] = Field(
        "mean", description="mean of the embeddings, or a sum weighted by how the candidate attends to each."
    )
    capacity: PositiveInt = Field(
        1_000_000, description="Viewers that are kept; the least recently active is forgotten first."
    )

    @model_validator(mode="after")
    def _one_bound_of_a_label(self) -> Self:
        if self.below is not None and self.above != 0:
            raise ValueError(f"feature '{self.name}': expected either 'above' or 'below', found both")
        if self.label is None and (self.below is not None or self.above != 0):
            raise ValueError(f"feature '{self.name}': 'above' and 'below' expect a 'label', found none")
        return self


class AgeFeature(SpecModel):
    """Seconds since something was: since a key was last shown, or since a time that the records hold.

    The network gets log(1 + seconds), and an indicator where it never was.
    """

    kind: Literal["age"]
    name: Name = Field(description="Unique name.")
    of: tuple[Name, ...] = Field(
        (),
        description="The key, as of a rate: since the viewer was shown anything, or anything of this author.",
    )
    since: Name | None = Field(
        None,
        description="Instead of a key, a feature of kind number that holds a time in epoch milliseconds.",
    )
    capacity: PositiveInt = Field(
        1_000_000, description="Keys that are kept; the least recently used is forgotten first."
    )

    @model_validator(mode="after")
    def _of_or_since(self) -> Self:
        if bool(self.of) == (self.since is not None):
            raise ValueError(f"feature '{self.name}': an age expects either 'of' or 'since'")
        return self


StateFeature = RateFeature | HistoryFeature | AgeFeature
