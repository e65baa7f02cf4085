import numpy as np
import pytest

from ranker.errors import SpecError
from ranker.features.state.digest import state_digest
from ranker.labels.binary import BinaryTask
from ranker.labels.regression import RegressionTask
from ranker.spec_file import dump_spec, parse_spec
from tests.serving.state_ranker import STATE_SPEC
from tests.training.toy import TOY_SPEC
from training.plausible import LABEL_FACTOR, MAX_LABEL, WEIGHT_FACTOR, Plausibility

CLICK = BinaryTask(name="click", group="engagement", kind="binary")
WATCH = RegressionTask(name="watch_time", group="engagement", kind="regression", transform="log1p", unit="s")
RATING = RegressionTask(name="rating", group="satisfaction", kind="regression", plausible=(1.0, 5.0))
TASKS = (CLICK, WATCH, RATING)
DRAW = np.random.default_rng(0)


def labels(rows: int) -> np.ndarray:
    return np.stack(
        [DRAW.integers(0, 2, rows), DRAW.exponential(20, rows), DRAW.integers(1, 6, rows)], axis=1
    ).astype(np.float32)


def test_plausible_rows_are_what_they_were_bit_for_bit() -> None:
    plausibility, drawn = Plausibility(TASKS, None), labels(500)
    drawn[::7] = np.nan
    weights = DRAW.uniform(0, 30, 500).astype(np.float32)
    rows = plausibility.read(drawn, weights)
    plausibility.take(rows)

    assert rows.labels.tobytes() == drawn.tobytes()
    assert rows.weights is not None
    assert rows.weights.tobytes() == weights.tobytes()
    assert plausibility.read(drawn, None).weights is None
    assert plausibility.found() == {}


@pytest.mark.parametrize("row", [0, 250])
@pytest.mark.parametrize("outlier", [1e6, 1.7e9, 3e38])
def test_an_outlier_counts_as_a_multiple_of_the_high_quantile_even_in_the_first_batch(
    outlier: float, row: int
) -> None:
    plausibility, drawn = Plausibility(TASKS, None), labels(500)
    drawn[row, 1] = outlier
    rows = plausibility.read(drawn, None)
    plausibility.take(rows)

    high = np.quantile(drawn[:, 1], 0.9)
    assert LABEL_FACTOR * high <= rows.labels[row, 1] <= 1.15 * LABEL_FACTOR * high
    found = plausibility.found()
    assert found.keys() == {"watch_time"}
    assert found["watch_time"].rows == 1
    assert found["watch_time"].furthest == pytest.approx(outlier)
    assert found["watch_time"].plausible[1] == pytest.approx(rows.labels[row, 1])


def test_an_outlying_weight_counts_as_a_multiple_of_the_high_quantile() -> None:
    plausibility, weights = Plausibility(TASKS, None), np.ones(500, np.float32)
    weights[3] = 1e38
    rows = plausibility.read(labels(500), weights)
    plausibility.take(rows)

    assert rows.weights is not None
    assert WEIGHT_FACTOR <= rows.weights[3] <= 1.15 * WEIGHT_FACTOR
    assert (np.delete(rows.weights, 3) == 1).all()
    assert plausibility.found()["weight"].rows == 1


def test_an_infinite_weight_is_left_for_the_loss_to_refuse() -> None:
    rows = Plausibility(TASKS, None).read(labels(50), np.full(50, np.inf, np.float32))

    assert rows.weights is not None
    assert np.isinf(rows.weights).all()


def test_what_the_spec_says_is_plausible_from_the_first_row_on() -> None:
    plausibility = Plausibility(TASKS, max_weight=2.0)
    rows = plausibility.read(
        np.array([[1, 3, 5], [0, 4, 7], [1, 5, -2]], np.float32), np.array([1, 2, 3], np.float32)
    )
    plausibility.take(rows)

    assert rows.labels.tolist() == [[1, 3, 5], [0, 4, 5], [1, 5, 1]]
    assert rows.weights is not None
    assert rows.weights.tolist() == [1, 2, 2]
    found = plausibility.found()
    assert (found["rating"].rows, found["rating"].furthest, found["rating"].plausible) == (2, 7, (1, 5))
    assert (found["weight"].rows, found["weight"].furthest) == (1, 3)


@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_no_share_of_huge_labels_makes_the_loss_infinite(share: float) -> None:
    plausibility, drawn = Plausibility(TASKS, None), labels(500)
    drawn[: int(500 * share), 1] = 3e38
    for _ in range(3):
        rows = plausibility.read(drawn, None)
        plausibility.take(rows)

    assert rows.labels[:, 1].max() <= np.float32(MAX_LABEL)
    assert np.isfinite(np.square(rows.labels[:, 1]).sum())


def test_nothing_is_known_of_a_batch_that_was_not_taken() -> None:
    plausibility, drawn = Plausibility(TASKS, None), labels(500)
    before = plausibility.state_dict()
    plausibility.read(drawn * 100, None)

    for name, array in plausibility.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_saved_state_goes_on() -> None:
    plausibility, resumed = Plausibility(TASKS, None), Plausibility(TASKS, None)
    drawn = labels(500)
    drawn[3, 1] = 1e6
    plausibility.take(plausibility.read(drawn, None))
    resumed.load_state_dict(plausibility.state_dict())
    assert resumed.found() == plausibility.found() != {}
    for each in (plausibility, resumed):
        each.take(each.read(drawn, None))

    assert resumed.found() == plausibility.found()
    assert resumed.found()["watch_time"].rows == 2


def test_a_range_out_of_order_is_refused_by_the_spec() -> None:
    text = dump_spec(TOY_SPEC).replace("transform: log1p", "transform: log1p\n  plausible: [5, 1]")
    with pytest.raises(SpecError, match=r"watch_time.* plausible: .* the least and then the greatest"):
        parse_spec(text, where="spec.yaml")


def test_what_is_plausible_says_nothing_of_the_feature_state() -> None:
    tasks = [
        task.model_copy(update={"plausible": (0, 600)}) if isinstance(task, RegressionTask) else task
        for task in STATE_SPEC.tasks
    ]
    bounded = STATE_SPEC.model_copy(update={"tasks": tuple(tasks)})

    assert bounded != STATE_SPEC
    digests = {state_digest(spec, spec.state_features) for spec in (bounded, STATE_SPEC)}
    assert len(digests) == 1


def test_a_spec_without_ranges_is_written_as_it_was() -> None:
    assert not {"plausible", "max_weight"} & set(dump_spec(TOY_SPEC).replace(":", " ").split())
