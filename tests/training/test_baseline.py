import math

import numpy as np
import pyarrow as pa
import pytest

from ranker.errors import SourceError
from training.baseline import SmoothedRates

KEYS, LABELS = ("user_id", "video_id", "tab"), ("click", "like")


def log(rows: int, seed: int) -> list[dict[str, int | str | None]]:
    """Rows with gaps in keys and labels."""
    random = np.random.default_rng(seed)

    def draw(values: list[int | str | None]) -> int | str | None:
        return values[random.integers(len(values))]

    return [
        {
            "user_id": draw(["a", "b", "c", "d"]),
            "video_id": draw([*range(30)]),
            "tab": draw([0, 1, 2, None]),
            "click": draw([0, 1, 1, None]),
            "like": draw([0, 0, 0, 1, None, None]),
        }
        for _ in range(rows)
    ]


def batch(rows: list[dict[str, int | str | None]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows)


def naive_score(
    learned: list[dict[str, int | str | None]], row: dict[str, int | str | None], label: str, strength: float
) -> float:
    """The score by the book: filter, count, divide, add up logits."""
    known = [other for other in learned if other[label] is not None]
    prior = (sum(other[label] for other in known) + 0.5) / (len(known) + 1)
    score = 0.0
    for key in KEYS:
        same = [other[label] for other in known if other[key] == row[key]]
        rate = (sum(same) + strength * prior) / (len(same) + strength)
        score += math.log(rate / (1 - rate))
    return score


@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_scores_equal_a_loop_over_rows(strength: float) -> None:
    learned, judged = log(300, seed=0), log(40, seed=1)
    judged[0]["user_id"], judged[1]["video_id"] = "never seen", 99
    rates = SmoothedRates(KEYS, LABELS, strength=strength)
    rates.fit(batch(learned[start : start + 70]) for start in range(0, 300, 70))

    expected = [[naive_score(learned, row, label, strength) for label in LABELS] for row in judged]

    np.testing.assert_allclose(rates.score(batch(judged)), expected, rtol=1e-9)


def test_what_was_never_seen_is_average() -> None:
    rates = SmoothedRates(["user_id"], ["click"])
    rates.fit([batch(log(300, seed=0))])
    unknown = pa.RecordBatch.from_pydict({"user_id": ["never seen"]})
    clicks = [row["click"] for row in log(300, seed=0) if row["click"] is not None]
    prior = (sum(clicks) + 0.5) / (len(clicks) + 1)
    assert rates.score(unknown)[0, 0] == pytest.approx(math.log(prior / (1 - prior)))


def test_a_label_that_is_always_true_gives_finite_scores() -> None:
    rates = SmoothedRates(["user_id"], ["click"])
    always = pa.RecordBatch.from_pydict({"user_id": ["a"] * 50, "click": [1] * 50})
    rates.fit([always])
    assert np.isfinite(rates.score(always)).all()


def test_no_rows_to_learn_from_are_refused() -> None:
    with pytest.raises(SourceError, match="expected the rows that the bundle was trained on, found none"):
        SmoothedRates(KEYS, LABELS).fit([])
