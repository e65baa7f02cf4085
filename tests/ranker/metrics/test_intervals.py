import math

import numpy as np
import pytest

from ranker.metrics.exact import auc
from ranker.metrics.intervals import auc_difference_interval, auc_interval, auc_margin

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
    interval = auc_interval(labels, scores, viewer, replicates=50, seed=7)

    random = np.random.default_rng(7)
    drawn = [np.bincount(random.integers(20, size=20), minlength=20)[viewer].astype(float) for _ in range(50)]
    expected = np.percentile([auc(labels, scores, weights) for weights in drawn], [2.5, 97.5])

    assert interval.estimate == pytest.approx(auc(labels, scores))
    assert (interval.low, interval.high) == pytest.approx(tuple(expected))
    assert interval.replicates == 50


def test_viewers_are_drawn_whole() -> None:
    labels, scores, viewer = rows_of(viewers=40, each=1, seed=0)
    copies = 25  # the same rows many times over tell nothing new about viewers
    many = auc_interval(np.tile(labels, copies), np.tile(scores, copies), np.tile(viewer, copies), seed=1)
    once = auc_interval(labels, scores, viewer, seed=1)

    assert (many.low, many.high) == pytest.approx((once.low, once.high))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = auc(*rows_of(viewers=100_000, each=3, seed=99)[:2])
    found = [auc_interval(*rows_of(viewers=150, each=3, seed=s), replicates=200, seed=s) for s in range(100)]

    covered = sum(interval.low <= truth <= interval.high for interval in found)
    assert 87 <= covered <= 100


def test_a_seed_gives_the_same_interval_again_and_another_seed_another() -> None:
    rows = rows_of(viewers=30, each=3, seed=5)

    assert auc_interval(*rows, seed=1) == auc_interval(*rows, seed=1)
    assert auc_interval(*rows, seed=1) != auc_interval(*rows, seed=2)


def test_viewers_may_be_strings() -> None:
    labels, scores, viewer = rows_of(viewers=9, each=3, seed=5)

    named = auc_interval(labels, scores, np.array([f"viewer {v}" for v in viewer]))
    assert named == auc_interval(labels, scores, viewer)


def test_the_paired_difference_is_surer_than_its_parts() -> None:
    labels, scores, viewer = rows_of(viewers=300, each=3, seed=2)
    baseline = scores + np.random.default_rng(0).normal(scale=0.3, size=scores.size)
    difference = auc_difference_interval(labels, scores, baseline, viewer)
    alone = auc_interval(labels, scores, viewer)

    assert difference.estimate == pytest.approx(auc(labels, scores) - auc(labels, baseline))
    assert difference.low <= difference.estimate <= difference.high
    assert difference.high - difference.low < (alone.high - alone.low) / 2


def test_scores_do_not_differ_from_themselves() -> None:
    labels, scores, viewer = rows_of(viewers=30, each=3, seed=5)
    difference = auc_difference_interval(labels, scores, scores, viewer)

    assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)


def test_replicates_of_one_class_are_left_out() -> None:
    labels, scores, viewer = np.array([1.0, 0.0, 0.0]), np.array([3.0, 1.0, 2.0]), np.arange(3)
    interval = auc_interval(labels, scores, viewer, replicates=200)

    assert 0 < interval.replicates < 200
    assert (interval.estimate, interval.low, interval.high) == (1, 1, 1)


@pytest.mark.parametrize("rows", [0, 4])
def test_labels_of_one_class_have_no_interval(rows: int) -> None:
    interval = auc_interval(np.zeros(rows), np.arange(float(rows)), np.arange(rows))

    assert interval.replicates == 0
    assert all(math.isnan(value) for value in (interval.estimate, interval.low, interval.high))


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
