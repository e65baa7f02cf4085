import math

import numpy as np
import pytest

from ranker.metrics.exact import auc
from ranker.metrics.intervals import (
    auc_difference_interval,
    auc_interval,
    auc_margin,
    drawn_interval,
    student_quantile,
)
from ranker.metrics.weighted_auc import WeightedAuc

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


def rows_of(viewers: int, each: int, seed: int) -> Rows:
    """Labels, scores and viewers; a viewer's rows share a taste and scores tie often."""
    random = np.random.default_rng(seed)
    viewer = np.repeat(np.arange(viewers), each)
    logit = random.normal(size=viewers)[viewer] + random.normal(size=viewer.size)
    labels = (random.random(viewer.size) < 1 / (1 + np.exp(-logit))).astype(float)
    return labels, np.round(logit + random.normal(size=viewer.size), 1), viewer


def test_replicates_are_the_weighted_auc_of_the_drawn_viewers() -> None:
    labels, scores, viewer = rows_of(viewers=20, each=4, seed=3)
    interval = drawn_interval(WeightedAuc(labels, scores), viewer, replicates=50, seed=7)

    random = np.random.default_rng(7)
    drawn = [np.bincount(random.integers(20, size=20), minlength=20)[viewer].astype(float) for _ in range(50)]
    expected = np.percentile([auc(labels, scores, weights) for weights in drawn], [2.5, 97.5])

    assert interval.estimate == pytest.approx(auc(labels, scores))
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))
    assert interval.replicates == 50


@pytest.mark.parametrize("viewers", [40, 400])
def test_viewers_count_whole(viewers: int) -> None:
    labels, scores, viewer = rows_of(viewers=viewers, each=1, seed=0)
    copies = 25  # the same rows many times over tell nothing new about viewers
    many = auc_interval(np.tile(labels, copies), np.tile(scores, copies), np.tile(viewer, copies), seed=1)
    once = auc_interval(labels, scores, viewer, seed=1)

    assert (many.low, many.high) == pytest.approx((once.low, once.high))


def test_the_interval_of_many_viewers_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = auc(*rows_of(viewers=100_000, each=3, seed=99)[:2])
    found = [auc_interval(*rows_of(viewers=400, each=3, seed=s), replicates=200, seed=s) for s in range(100)]

    covered = sum(interval.low <= truth <= interval.high for interval in found)
    assert 87 <= covered <= 100


def test_a_seed_gives_the_same_interval_again_and_another_seed_another() -> None:
    rows = rows_of(viewers=300, each=3, seed=5)

    assert auc_interval(*rows, seed=1) == auc_interval(*rows, seed=1)
    assert auc_interval(*rows, seed=1) != auc_interval(*rows, seed=2)


def test_viewers_may_be_strings() -> None:
    labels, scores, viewer = rows_of(viewers=40, each=3, seed=5)

    named = auc_interval(labels, scores, np.array([f"viewer {v}" for v in viewer]))
    assert named == auc_interval(labels, scores, viewer)


@pytest.mark.parametrize("viewers", [60, 300])
def test_the_paired_difference_is_surer_than_its_parts(viewers: int) -> None:
    labels, scores, viewer = rows_of(viewers=viewers, each=3, seed=2)
    baseline = scores + np.random.default_rng(0).normal(scale=0.3, size=scores.size)
    difference = auc_difference_interval(labels, scores, baseline, viewer)
    alone = auc_interval(labels, scores, viewer)

    assert difference.estimate == pytest.approx(auc(labels, scores) - auc(labels, baseline))
    assert difference.low <= difference.estimate <= difference.high
    assert difference.high - difference.low < (alone.high - alone.low) / 2


@pytest.mark.parametrize("viewers", [30, 300])
def test_scores_do_not_differ_from_themselves(viewers: int) -> None:
    labels, scores, viewer = rows_of(viewers=viewers, each=3, seed=5)
    difference = auc_difference_interval(labels, scores, scores, viewer)

    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_replicates_of_one_class_are_left_out() -> None:
    labels, scores, viewer = np.array([1.0, 0.0, 0.0]), np.array([3.0, 1.0, 2.0]), np.arange(3)
    interval = drawn_interval(WeightedAuc(labels, scores), viewer, replicates=200, seed=0)

    assert 0 < interval.replicates < 200
    assert (interval.estimate, interval.low, interval.high) == (1, 1, 1)


@pytest.mark.parametrize("rows", [0, 4])
def test_labels_of_one_class_have_no_interval(rows: int) -> None:
    interval = auc_interval(np.zeros(rows), np.arange(float(rows)), np.arange(rows))

    assert interval.replicates == 0
    assert all(math.isnan(value) for value in (interval.estimate, interval.low, interval.high))


def few(viewers: int, positives: int, negatives: int) -> Rows:
    """Rows of some viewers with labels that scores tell a little about."""
    rows = positives + negatives
    labels = np.random.default_rng(0).permutation(np.arange(rows) < positives).astype(float)
    return labels, np.random.default_rng(1).normal(size=rows) + labels, np.arange(rows) % viewers


def of_few_viewers(viewers: int) -> Rows:
    """Forty viewers, of whom some have all positives."""
    labels, scores, _ = few(40, 20, 400)
    positives = np.cumsum(labels).astype(int) % viewers
    return labels, scores, np.where(labels > 0, positives, np.arange(420) % 40)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (few(1, 300, 300), "1 viewers of at least 30"),
        (few(29, 300, 300), "29 viewers of at least 30"),
        (few(300, 1, 600), "1 positives of at least 10"),
        (few(300, 9, 600), "9 positives of at least 10"),
        (few(300, 600, 9), "9 negatives of at least 10"),
        (of_few_viewers(4), "4 viewers with a positive of at least 5"),
    ],
)
def test_too_few_have_an_estimate_and_no_interval_and_it_is_said_of_what(rows: Rows, reason: str) -> None:
    labels, scores, viewer = rows
    area = auc_interval(labels, scores, viewer)
    difference = auc_difference_interval(labels, scores, -scores, viewer)

    assert area.estimate == pytest.approx(auc(labels, scores))
    assert difference.estimate == pytest.approx(auc(labels, scores) - auc(labels, -scores))
    for interval in (area, difference):
        assert math.isnan(interval.low)
        assert math.isnan(interval.high)
        assert interval.reason == reason


def test_enough_have_an_interval() -> None:
    for rows in (few(30, 10, 300), few(30, 300, 10), few(299, 500, 500), few(300, 99, 900)):
        interval = auc_interval(*rows)
        assert 0 < interval.low < interval.estimate < interval.high < 1
        assert (interval.replicates, interval.reason) == (0, "")


def test_scores_that_separate_the_few_labels_there_are_have_no_interval() -> None:
    labels = np.repeat([0.0, 1.0], 30)
    interval = auc_interval(labels, labels, np.arange(60) % 30)

    assert (interval.estimate, interval.reason) == (1, "the scores separate the labels")


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(4, 2.7764), (5, 2.5706), (9, 2.2622), (29, 2.0452), (1e9, 1.96)]
)
def test_students_quantile_is_that_of_the_tables(freedom: float, quantile: float) -> None:
    assert student_quantile(freedom) == pytest.approx(quantile, rel=0.003)


def covered(viewers: int, rate: float, worlds: int) -> tuple[float, float]:
    """How often the intervals of the AUC and of a difference hold the truth, in worlds of few viewers."""

    def world(viewers: int, seed: int) -> tuple[np.ndarray, ...]:
        random = np.random.default_rng(seed)
        viewer = np.repeat(np.arange(viewers), 10)
        logit = 0.7 * random.normal(size=viewers)[viewer] + random.normal(size=viewer.size)
        labels = random.random(viewer.size) < 1 / (1 + np.exp(-(logit + np.log(rate / (1 - rate)))))
        scores, baseline = (logit + random.normal(scale=scale, size=viewer.size) for scale in (0.8, 1.2))
        return labels.astype(float), scores, baseline, viewer

    labels, scores, baseline, _ = world(100_000, 99)
    truths = auc(labels, scores), auc(labels, scores) - auc(labels, baseline)
    held: list[list[bool]] = []
    for seed in range(worlds):
        labels, scores, baseline, viewer = world(viewers, seed)
        found = (
            auc_interval(labels, scores, viewer),
            auc_difference_interval(labels, scores, baseline, viewer),
        )
        if not found[0].reason:
            held.append([each.low <= truth <= each.high for each, truth in zip(found, truths, strict=True)])
    assert len(held) > worlds / 4
    area, difference = np.mean(held, axis=0)
    return float(area), float(difference)


@pytest.mark.parametrize(("viewers", "rate"), [(30, 0.07), (30, 0.4), (100, 0.03), (100, 0.4)])
def test_the_interval_of_few_viewers_covers_the_truth_about_as_often_as_it_says(
    viewers: int, rate: float
) -> None:
    assert all(0.92 <= share <= 0.985 for share in covered(viewers, rate, 400))


def test_the_margin_from_counts_is_that_of_drawing_rows() -> None:
    """Of rows that are each of another viewer, both ways of telling how sure AUC is agree."""
    random = np.random.default_rng(3)
    labels = (random.random(600) < 0.3).astype(float)
    scores = labels + random.normal(size=600) * 1.5
    interval = auc_interval(labels, scores, np.arange(600), replicates=400)
    margin = auc_margin(interval.estimate, labels.sum(), 600 - labels.sum())
    assert margin == pytest.approx((interval.high - interval.low) / 2, rel=0.15)


@pytest.mark.parametrize(("positives", "negatives"), [(0, 9), (9, 0)])
def test_there_is_no_margin_without_both_classes(positives: int, negatives: int) -> None:
    assert np.isnan(auc_margin(0.7, positives, negatives))
