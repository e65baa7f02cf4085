"""From one request's predictions to the items of its answer: its score policy, their order, what each says.

Shape letters: C candidates, N of them that are returned, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranker.errors import InvalidRequestError, Mistake, UnknownPolicyError
from ranker.score.policy import Scored, ScorePolicies, ScorePolicy
from ranker.score.terms import Floats
from serving.http.json_pointer import json_pointer
from serving.requests import RankRequest


def chosen_policy(policies: ScorePolicies, body: RankRequest) -> ScorePolicy:
    """The score policy that a request names, or the default one.

    Raises:
        InvalidRequestError: There is none of that name; it points at `policy` and lists those there are.
    """
    if body.policy is None:
        return policies.default
    try:
        return policies.named(body.policy)
    except UnknownPolicyError as error:
        raise InvalidRequestError([Mistake(json_pointer(("policy",)), str(error))]) from error


@dataclass(frozen=True)
class Order:
    """Which candidates are returned, best first.

    Attributes:
        rows: (N,) their indices.
        scored: The scores of all.
    """

    rows: NDArray[np.intp]
    scored: Scored

    @property
    def scores(self) -> Floats:
        """(N,) what they are ranked by."""
        return self.scored.score[self.rows]


def ranked_order(body: RankRequest, predictions: Floats, policy: ScorePolicy) -> Order:
    """Put a request's candidates in their order.

    Args:
        body: The request, with C candidates.
        predictions: (C, T) in natural units.
        policy: Turns them into an order.
    """
    scored = policy.score(predictions)
    return Order(scored.best(body.limit), scored)


def ranked_items(
    body: RankRequest, tasks: Sequence[str], predictions: Floats, order: Order
) -> list[dict[str, Any]]:
    """The items of an answer, best first, as `RankedVideo` describes them.

    Args:
        body: The request, with C candidates.
        tasks: Names of the T tasks.
        predictions: (C, T) in natural units.
        order: Which of them are returned.
    """
    best = order.rows
    rows = zip(best.tolist(), order.scores.tolist(), predictions[best].tolist(), strict=True)
    items: list[dict[str, Any]] = [
        {
            "id": body.candidates[index]["id"],
            "position": position,
            "score": score,
            "predictions": dict(zip(tasks, predicted, strict=True)),
        }
        for position, (index, score, predicted) in enumerate(rows, start=1)
    ]
    if body.explain:
        scored = order.scored
        for item, parts in zip(items, scored.contributions[best].tolist(), strict=True):
            item["contributions"] = dict(zip(scored.heads, parts, strict=True))
    return items
