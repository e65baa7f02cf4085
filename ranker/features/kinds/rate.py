"""How labels went lately wherever a key was shown."""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from ranker.features.kinds.column import ColumnFeature
from ranker.features.kinds.feature import Features, Input, Number
from ranker.features.kinds.key import HalfLife, Key, KeyCapacity, check_key
from ranker.features.kinds.learned import StateFeature
from ranker.features.kinds.parts import check_labels, made_of
from ranker.features.state.rates import RateTracker
from ranker.features.state.row_keys import RowKeys
from ranker.features.state.tracker import Tracker
from ranker.labels.label import Label
from ranker.spec_model import Name


class RateFeature(StateFeature):
    """How labels went lately wherever the key was shown: decayed, smoothed rates and the count behind them.

    Each label has for each half-life a rate (S + prior_strength * p) / (N + prior_strength), where S and N
    are sums of the label and of rows, halved with every half-life, and p is the same rate of all rows, or of
    those with the same part of the key (`prior`). The network gets the log-odds of a binary label's rate, the
    mean of a regression label, and log(1 + N) of the first label.
    """

    renamed_keys: ClassVar = {"toward": "prior", "strength": "prior_strength"}
    reading_keys = frozenset({"prior", "prior_strength"})

    kind: Literal["rate"]
    of: Key
    labels: tuple[Name, ...] = Field(min_length=1, description="Tasks and other labels that are counted.")
    half_lives: tuple[HalfLife, ...] = Field(
        ("7d",), min_length=1, validate_default=True, description="Times after which a row counts half."
    )
    prior_strength: PositiveFloat | dict[Name, PositiveFloat] = Field(
        20.0, description="How many rows the prior is worth; for each label, or for all."
    )
    prior: Name | None = Field(
        None,
        description="Another rate whose key is a part of this one, such as the viewer's: its rates are the "
        "prior in place of those of all rows.",
    )
    capacity: KeyCapacity = 1_000_000

    @property
    def input(self) -> Input:
        """Numbers."""
        return Input.NUMBERS

    @property
    def parts(self) -> tuple[str, ...]:
        """The key."""
        return self.of

    @property
    def counted_labels(self) -> tuple[str, ...]:
        """`labels`."""
        return self.labels

    @property
    def prior_feature(self) -> str | None:
        """`prior`."""
        return self.prior

    @property
    def longest_half_life_s(self) -> float:
        """That of `half_lives`."""
        return max(self.half_lives)

    def check(self, features: Features, labels: Collection[str]) -> None:
        """See `Feature`; the prior is a rate of a part of the key, with the same labels and half-lives."""
        check_key(self, self.of, features)
        check_labels(self, labels)
        if self.prior is None:
            return
        prior = features.get(self.prior)
        if not (
            isinstance(prior, RateFeature)
            and prior.prior is None
            and set(prior.of) < set(self.of)
            and set(prior.labels) >= set(self.labels)
            and set(prior.half_lives) >= set(self.half_lives)
        ):
            raise ValueError(
                f"feature '{self.name}': prior expects a rate of a part of {', '.join(self.of)} with its "
                f"half-lives and labels, and without a prior itself, found '{self.prior}'"
            )

    def columns(self, features: Features) -> tuple[ColumnFeature, ...]:
        """The key's."""
        return tuple(made_of(name, features) for name in self.of)

    def numbers(self, labels: Sequence[Label]) -> tuple[Number, ...]:
        """For each half-life the rate of each label, then the count: H (L + 1)."""
        kinds = {label.name: label.is_probability for label in labels}
        rates = [Number("log" if kinds[name] else "identity", may_be_missing=False) for name in self.labels]
        return tuple([*rates, Number("log", may_be_missing=False)] * len(self.half_lives))

    def tracker(
        self, features: Features, labels: Sequence[Label], trackers: Mapping[str, Tracker]
    ) -> RateTracker:
        """Decayed sums by key."""
        prior = trackers.get(self.prior or "")
        assert prior is None or isinstance(prior, RateTracker)
        names = [label.name for label in labels]
        strength = self.prior_strength
        return RateTracker(
            self.name,
            RowKeys(self.columns(features)),
            capacity=self.capacity,
            half_lives_s=self.half_lives,
            labels=[(names.index(name), labels[names.index(name)]) for name in self.labels],
            prior_strength=[strength[n] if isinstance(strength, dict) else strength for n in self.labels],
            prior=prior,
        )

    @model_validator(mode="after")
    def _strengths_of_its_labels(self) -> Self:
        given = self.prior_strength
        strengths = given if isinstance(given, dict) else dict.fromkeys(self.labels)
        for label in strengths:
            if label not in self.labels:
                raise ValueError(
                    f"feature '{self.name}': prior_strength expects labels out of {', '.join(self.labels)}, "
                    f"found '{label}'"
                )
        lacking = [label for label in self.labels if label not in strengths]
        if lacking:
            raise ValueError(
                f"feature '{self.name}': prior_strength expects all labels, found none for '{lacking[0]}'"
            )
        return self
