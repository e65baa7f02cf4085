"""Score policies: named ways to turn predictions into an order.

The model predicts; which policy turns its predictions into an order is chosen for each request. A
candidate's score never depends on the others.

Shape letters: C candidates, T tasks, K terms of the score.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.did_you_mean import did_you_mean
from ranker.errors import UnknownPolicyError
from ranker.score.base import ScoreSpec
from ranker.score.terms import LIMIT, Floats, Terms

DEFAULT_POLICY: Final = "default"
"""The policy that a spec's `score` is."""


@dataclass(frozen=True)
class Scored:
    """The scores of some candidates, in their order.

    Attributes:
        score: (C,) the score, always finite.
        rank_key: (C,) what to sort by, greatest first, always finite.
        contributions: (C, K) each term's part; they add up to the rank key.
        heads: The K heads, in the order of the contributions.
    """

    score: Floats
    rank_key: Floats
    contributions: Floats
    heads: tuple[str, ...]

    def best(self, limit: int | None = None) -> NDArray[np.intp]:
        """Indices of the best candidates, best first; those of one rank key stay in their order.

        Args:
            limit: How many at most; all by default.
        """
        return np.argsort(-self.rank_key, kind="stable")[:limit]


class ScorePolicy:
    """A score spec under a name, ready to be applied to predictions.

    Args:
        name: What requests call it.
        spec: The terms and how they are combined; its heads are among the tasks.
        tasks: Names of the T tasks, in the order of the predictions' columns.

    Attributes:
        version: The score spec's, by its content.
    """

    def __init__(self, name: str, spec: ScoreSpec, tasks: Sequence[str]) -> None:
        self.name = name
        self.spec = spec
        self.version = spec.version
        self._terms = Terms(spec.terms, tasks)

    def score(self, predictions: Floats) -> Scored:
        """Score candidates.

        Args:
            predictions: (C, T) finite, in natural units, in the tasks' order.
        """
        with np.errstate(over="ignore"):  # what overflows is clipped
            contribution_ck = self.spec.contributions(self._terms.weight_k, self._terms.bases(predictions))
        contribution_ck = np.clip(contribution_ck, -LIMIT, LIMIT)
        rank_key_c = contribution_ck.sum(axis=1)
        return Scored(self.spec.score(rank_key_c), rank_key_c, contribution_ck, self._terms.heads)


class ScorePolicies:
    """The policies that a request may choose from.

    Args:
        default: The score spec of the policy `default`, which ranks where none is chosen.
        further: The others, by name.
        tasks: Names of the T tasks, in the order of the predictions' columns.
    """

    def __init__(self, default: ScoreSpec, further: Mapping[str, ScoreSpec], tasks: Sequence[str]) -> None:
        specs = {DEFAULT_POLICY: default, **further}
        self._policies = {name: ScorePolicy(name, spec, tasks) for name, spec in specs.items()}

    @property
    def default(self) -> ScorePolicy:
        """The policy that ranks where none is chosen."""
        return self._policies[DEFAULT_POLICY]

    def __iter__(self) -> Iterator[ScorePolicy]:
        """The policies, the default one first."""
        return iter(self._policies.values())

    def named(self, name: str) -> ScorePolicy:
        """The policy of this name.

        Raises:
            UnknownPolicyError: There is none; the message lists the names that there are.
        """
        if name not in self._policies:
            names = ", ".join(self._policies)
            raise UnknownPolicyError(
                f"expected one of the score policies {names}, found '{name:.40}'"
                f"{did_you_mean(name, self._policies)}"
            )
        return self._policies[name]
