"""What every way of combining terms must do; a kind's test inherits it and names the kind.

Shape letters: C candidates, T tasks.
"""

import math
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ranker.score.base import ScoreSpec
from ranker.score.policy import ScorePolicy
from ranker.score.registry import KINDS, AnyScoreSpec, combine_of
from ranker.score.terms import Floats, ScoreTerm

TASKS = ["click", "watch_time", "like", "dismiss"]
TRANSFORMS = ["identity", "log1p", "clip", "divide", "logit"]
finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-5, 5).map(lambda x: round(x, 3))
read: TypeAdapter[ScoreSpec] = TypeAdapter(AnyScoreSpec)
inherited = settings(suppress_health_check=[HealthCheck.differing_executors])
"""Of a test that several classes inherit: each runs it on its own kind, which is what is wanted here."""


def policy(spec: ScoreSpec) -> ScorePolicy:
    return ScorePolicy("any", spec, TASKS)


def row(**values: float) -> Floats:
    return np.array([[values.get(task, 0.0) for task in TASKS]])


def predictions(values: st.SearchStrategy[float] = finite) -> st.SearchStrategy[Floats]:
    rows = st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=20)
    return rows.map(lambda drawn: np.array(drawn, dtype=np.float64))


@st.composite
def terms(draw: st.DrawFn, kind: type[ScoreSpec], size: st.SearchStrategy[float] = finite) -> Any:
    """Terms that the kind allows."""
    found = []
    for head in draw(st.lists(st.sampled_from(TASKS), min_size=1, unique=True)):
        term: dict[str, Any] = {
            "head": head,
            "weight": draw(size),
            "offset": draw(size),
            "transform": draw(st.sampled_from(TRANSFORMS)),
        }
        if term["transform"] == "clip":
            term["low"], term["high"] = draw(
                st.tuples(size, size).map(sorted).filter(lambda bounds: bounds[0] < bounds[1])
            )
        if term["transform"] == "divide":
            term["scale"] = draw(size.map(abs).filter(bool))
        found.append(ScoreTerm.model_validate(allowed(kind, term)))
    return tuple(found)


def allowed(kind: type[ScoreSpec], term: dict[str, Any]) -> dict[str, Any]:
    """The term, or one near it that the kind does not refuse."""
    positive = {"offset": abs(term["offset"])}
    for change in ({}, positive, {**positive, "transform": "log1p"}):
        changed = {**term, **change}
        try:
            kind(terms=(ScoreTerm.model_validate(changed),))
        except ValidationError:
            continue
        return changed
    raise AssertionError(f"{kind.__name__} refuses {term}, and also without its sign and transform")


def specs(kind: type[ScoreSpec], size: st.SearchStrategy[float] = finite) -> st.SearchStrategy[ScoreSpec]:
    return terms(kind, size).map(lambda drawn: kind(terms=drawn))


class ScoreContract:
    """The tests of every kind."""

    kind: ClassVar[type[ScoreSpec]]
    versions: ClassVar[dict[str, dict[str, Any]]]
    """Score versions that answers have named, and the specs that they stand for: those may not change."""

    @staticmethod
    def naive_score(parts: list[tuple[float, float]]) -> float:
        """The score as it is defined, of (weight, offset + transformed prediction) of each term."""
        raise NotImplementedError

    def test_a_spec_names_it(self) -> None:
        combine = combine_of(self.kind)
        spec = read.validate_python({"combine": combine, "terms": [{"head": "click"}]})

        assert type(spec) is self.kind
        assert self.kind in KINDS
        assert spec.model_dump(mode="json").keys() >= {"combine", "terms"}
        assert read.validate_json(spec.model_dump_json()) == spec
        assert self.kind.contributions_are

    def test_its_versions_are_those_of_old(self) -> None:
        assert self.versions
        for version, spec in self.versions.items():
            assert read.validate_python(spec).version == version

    @inherited
    @given(st.data())
    def test_any_finite_predictions_give_a_finite_score(self, data: st.DataObject) -> None:
        spec, drawn = data.draw(specs(self.kind)), data.draw(predictions())
        scored = policy(spec).score(drawn)

        for values in (scored.score, scored.rank_key, scored.contributions):
            assert np.isfinite(values).all()
        assert scored.heads == tuple(term.head for term in spec.terms)
        assert scored.score.shape == scored.rank_key.shape == (len(drawn),)
        assert scored.contributions.shape == (len(drawn), len(spec.terms))

    @inherited
    @given(st.data(), st.sampled_from(TASKS), st.floats(0, sys.float_info.max / 2))
    def test_the_rank_key_moves_with_a_head_as_its_weight_says(
        self, data: st.DataObject, head: str, step: float
    ) -> None:
        spec, drawn = data.draw(specs(self.kind)), data.draw(predictions())
        column = TASKS.index(head)
        more, less = drawn.copy(), drawn.copy()
        more[:, column] = np.minimum(drawn[:, column] / 2 + step, sys.float_info.max)
        less[:, column] = drawn[:, column] / 2
        weight = next((t.weight for t in spec.terms if t.head == head), 0.0)

        gain = policy(spec).score(more).rank_key - policy(spec).score(less).rank_key
        assert (gain * math.copysign(1, weight) >= 0).all() if weight else (gain == 0).all()

    @pytest.mark.parametrize("weight", [0.5, -0.5])
    def test_a_better_prediction_makes_a_difference(self, weight: float) -> None:
        spec = self.kind(terms=(ScoreTerm(head="like", weight=weight), ScoreTerm(head="click")))
        scored = policy(spec).score(np.concatenate([row(click=0.5, like=0.2), row(click=0.5, like=0.4)]))

        for values in (scored.rank_key, scored.score):
            assert math.copysign(1, values[1] - values[0]) == math.copysign(1, weight)
            assert values[0] != values[1]

    @inherited
    @given(st.data())
    def test_a_score_is_the_same_in_any_company(self, data: st.DataObject) -> None:
        scorer, drawn = policy(data.draw(specs(self.kind))), data.draw(predictions())
        together = scorer.score(drawn)
        alone = [scorer.score(one[None]) for one in drawn]

        for values in ("rank_key", "score", "contributions"):
            np.testing.assert_array_equal(
                getattr(together, values), np.concatenate([getattr(each, values) for each in alone])
            )

    @inherited
    @given(st.data())
    def test_contributions_add_up_to_the_rank_key(self, data: st.DataObject) -> None:
        scored = policy(data.draw(specs(self.kind))).score(data.draw(predictions()))

        np.testing.assert_array_equal(scored.contributions.sum(axis=1), scored.rank_key)

    @inherited
    @given(st.data())
    def test_the_score_never_falls_where_the_rank_key_rises(self, data: st.DataObject) -> None:
        scored = policy(data.draw(specs(self.kind))).score(data.draw(predictions()))

        assert (np.diff(scored.score[np.argsort(scored.rank_key)]) >= 0).all()

    @inherited
    @given(st.data())
    def test_the_score_is_what_the_spec_says_where_that_does_not_overflow(self, data: st.DataObject) -> None:
        spec, drawn = data.draw(specs(self.kind, moderate)), data.draw(predictions(st.floats(0, 1)))
        scored = policy(spec).score(drawn)

        for candidate, found in zip(drawn, scored.score, strict=True):
            parts = [(term.weight, term.offset + transformed(term, candidate)) for term in spec.terms]
            assert found == pytest.approx(self.naive_score(parts), rel=1e-9, abs=1e-9)

    def test_no_candidates_no_scores(self) -> None:
        spec = self.kind(terms=(ScoreTerm(head="click"),))

        assert policy(spec).score(np.empty((0, 4))).score.shape == (0,)


def transformed(term: ScoreTerm, candidate: Floats) -> float:
    x = float(candidate[TASKS.index(term.head)])
    match term.transform:
        case "log1p":
            return math.log1p(x)
        case "clip":
            assert term.high is not None
            return min(max(x, term.low), term.high)
        case "logit":
            p = min(max(x, 1e-7), 1 - 1e-7)
            return math.log(p / (1 - p))
        case "divide":
            return x / term.scale
        case _:
            return x
