import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.labels.binary import BinaryTask
from ranker.labels.regression import RegressionTask
from ranker.score.formula import ScoreFormula
from ranker.score.score_spec import ScoreSpec, ScoreTerm

TASKS = [
    BinaryTask(name="click", group="engagement", kind="binary"),
    RegressionTask(name="watch_time", group="engagement", kind="regression", transform="log1p", unit="s"),
    BinaryTask(name="like", group="satisfaction", kind="binary"),
    BinaryTask(name="dismiss", group="satisfaction", kind="binary"),
]
HEADS = [task.name for task in TASKS]
finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def specs(draw: st.DrawFn, size: st.SearchStrategy[float] = finite) -> ScoreSpec:
    combine = draw(st.sampled_from(["product", "sum"]))
    transforms = ["identity", "log1p", "clip", "divide"] + ["logit"] * (combine == "sum")
    terms = []
    for head in draw(st.lists(st.sampled_from(HEADS), min_size=1, unique=True)):
        term: dict[str, Any] = {
            "head": head,
            "weight": draw(size),
            "offset": abs(draw(size)) if combine == "product" else draw(size),
            "transform": draw(st.sampled_from(transforms)),
        }
        if term["transform"] == "clip":
            term["low"], term["high"] = draw(
                st.tuples(size, size).map(sorted).filter(lambda bounds: bounds[0] < bounds[1])
            )
        if term["transform"] == "divide":
            term["scale"] = draw(size.map(abs).filter(bool))
        terms.append(ScoreTerm(**term))
    return ScoreSpec(combine=combine, terms=tuple(terms))


def predictions(values: st.SearchStrategy[float] = finite) -> st.SearchStrategy[np.ndarray]:
    rows = st.lists(st.lists(values, min_size=4, max_size=4), min_size=1, max_size=20)
    return rows.map(lambda drawn: np.array(drawn, dtype=np.float64))


probable = st.floats(0, 1)
moderate = st.floats(-5, 5).map(lambda x: round(x, 3))


def formula(combine: str, *terms: dict[str, Any]) -> ScoreFormula:
    return ScoreFormula(ScoreSpec(combine=combine, terms=tuple(ScoreTerm(**t) for t in terms)), TASKS)


def row(**values: float) -> np.ndarray:
    return np.array([[values.get(head, 0.0) for head in HEADS]])


@given(specs(), predictions())
def test_any_finite_predictions_give_a_finite_score(spec: ScoreSpec, drawn: np.ndarray) -> None:
    scored = ScoreFormula(spec, TASKS).score(drawn)

    for values in (scored.score, scored.rank_key, scored.contributions):
        assert np.isfinite(values).all()
    assert scored.heads == tuple(term.head for term in spec.terms)
    assert scored.contributions.shape == (len(drawn), len(spec.terms))


@given(specs(), predictions(), st.integers(0, 3), st.floats(0, sys.float_info.max / 2))
def test_the_score_moves_with_a_head_as_its_weight_says(
    spec: ScoreSpec, drawn: np.ndarray, head: int, step: float
) -> None:
    more = drawn.copy()
    more[:, head] = np.minimum(drawn[:, head] / 2 + step, sys.float_info.max)
    less = drawn.copy()
    less[:, head] = drawn[:, head] / 2
    weight = next((t.weight for t in spec.terms if t.head == HEADS[head]), 0.0)

    scorer = ScoreFormula(spec, TASKS)
    gain = scorer.score(more).rank_key - scorer.score(less).rank_key
    assert (gain * math.copysign(1, weight) >= 0).all() if weight else (gain == 0).all()


@given(specs(), predictions())
def test_a_score_is_the_same_in_any_company(spec: ScoreSpec, drawn: np.ndarray) -> None:
    scorer = ScoreFormula(spec, TASKS)
    together = scorer.score(drawn)
    alone = [scorer.score(one[None]) for one in drawn]

    np.testing.assert_array_equal(together.rank_key, np.concatenate([s.rank_key for s in alone]))
    np.testing.assert_array_equal(together.score, np.concatenate([s.score for s in alone]))
    np.testing.assert_array_equal(together.contributions, np.concatenate([s.contributions for s in alone]))


@given(specs(), predictions())
def test_contributions_add_up_to_the_rank_key(spec: ScoreSpec, drawn: np.ndarray) -> None:
    scored = ScoreFormula(spec, TASKS).score(drawn)

    np.testing.assert_array_equal(scored.contributions.sum(axis=1), scored.rank_key)


@given(specs(moderate), predictions(probable))
def test_the_score_is_what_the_spec_says_where_that_does_not_overflow(
    spec: ScoreSpec, drawn: np.ndarray
) -> None:
    scored = ScoreFormula(spec, TASKS).score(drawn)

    for candidate, found in zip(drawn, scored.score, strict=True):
        assert found == pytest.approx(naive_score(spec, candidate), rel=1e-9, abs=1e-9)


def naive_score(spec: ScoreSpec, candidate: np.ndarray) -> float:
    parts = []
    for term in spec.terms:
        x = float(candidate[HEADS.index(term.head)])
        match term.transform:
            case "log1p":
                x = math.log1p(x)
            case "clip":
                assert term.high is not None
                x = min(max(x, term.low), term.high)
            case "logit":
                p = min(max(x, 1e-7), 1 - 1e-7)
                x = math.log(p / (1 - p))
            case "divide":
                x = x / term.scale
        base = term.offset + x
        parts.append(max(base, 1e-12) ** term.weight if spec.combine == "product" else term.weight * base)
    return math.prod(parts) if spec.combine == "product" else sum(parts)


def test_the_product_of_the_paper() -> None:
    scored = formula(
        "product",
        {"head": "click", "weight": 0.5, "offset": 0.1},
        {"head": "watch_time", "weight": 2.0, "offset": 1.0, "transform": "log1p"},
        {"head": "dismiss", "weight": -3.0, "offset": 1.0},
    ).score(row(click=0.3, watch_time=20.0, dismiss=0.02))

    assert scored.score[0] == pytest.approx(0.4**0.5 * (1 + math.log(21)) ** 2 / 1.02**3)
    assert scored.contributions[0, 0] == pytest.approx(0.5 * math.log(0.4))
    assert scored.rank_key[0] == pytest.approx(math.log(scored.score[0]))


def test_the_rank_key_tells_candidates_apart_beyond_the_score_s_limit() -> None:
    scored = formula("product", {"head": "watch_time", "weight": 200.0}).score(
        np.concatenate([row(watch_time=1e3), row(watch_time=1e4)])
    )

    assert scored.score[0] == scored.score[1]
    assert scored.rank_key[0] < scored.rank_key[1]


def test_a_head_that_predicts_zero_keeps_a_negative_power_finite() -> None:
    scored = formula("product", {"head": "dismiss", "weight": -1.0}).score(row(dismiss=0.0))

    assert scored.score[0] == pytest.approx(1e12)


@pytest.mark.parametrize("seconds", [-0.5, -1.0, -1e9])
def test_log1p_takes_a_negative_prediction_as_zero(seconds: float) -> None:
    scorer = formula("sum", {"head": "watch_time", "transform": "log1p", "offset": 2.0})

    assert scorer.score(row(watch_time=seconds)).score[0] == 2.0


def test_terms_find_their_heads_whatever_the_order_of_the_tasks() -> None:
    spec = ScoreSpec(combine="sum", terms=(ScoreTerm(head="like"), ScoreTerm(head="click", weight=10)))

    straight = ScoreFormula(spec, TASKS).score(row(click=0.5, like=0.25))
    turned = ScoreFormula(spec, TASKS[::-1]).score(row(click=0.5, like=0.25)[:, ::-1])
    assert straight.score[0] == turned.score[0] == 5.25


def test_the_version_is_the_content_s() -> None:
    one = formula("product", {"head": "click", "weight": 1.0})
    same = formula("product", {"weight": 1, "head": "click"})
    other = formula("product", {"head": "click", "weight": 1.5})

    assert one.version == same.version != other.version
    assert len(one.version) == 12


def test_no_candidates_no_scores() -> None:
    assert formula("sum", {"head": "click"}).score(np.empty((0, 4))).score.shape == (0,)
