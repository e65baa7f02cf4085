import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console

from ranker.bundles.bundle import Bundle
from ranker.bundles.registry import Registry
from ranker.errors import SourceError
from ranker.labels.binary import BinaryReport
from ranker.labels.natural_units import natural_units
from ranker.labels.regression import RegressionReport
from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.training.record_source import RecordSource
from tests.training.toy import with_column
from training.baseline import SmoothedRates
from training.checkpoint import RunIdentity
from training.evaluate import EvaluationReport, FeatureMode, evaluate, viewer_numbers
from training.loop import TrainingLoop
from training.publish import publish
from training.show import comparison_table, evaluation_table
from training.sources.base import SourceBatch
from training.trainer import Trainer

RECORDS = with_column(
    random_records(9_000, nulls=0.1), "user_id", np.random.default_rng(0).integers(0, 60, 9_000)
)
LEARNED, JUDGED = RECORDS.slice(0, 300), RECORDS.slice(300)  # judged in more than one batch
SOURCE = RecordSource(RECORDS)
REPLICATES = 50


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    registry = Registry(str(tmp_path_factory.mktemp("registry")))
    loop = TrainingLoop(Trainer(SMALL_SPEC, seed=0))
    loop.run((SourceBatch(LEARNED.slice(start, 50), {}) for start in range(0, 300, 50)), [])
    run = RunIdentity.of(SMALL_SPEC, source="records", since_ms=None, until_ms=None, seed=0)
    publish(loop, registry, run)
    return registry.read()


@pytest.fixture(scope="module")
def report(bundle: Bundle) -> EvaluationReport:
    return evaluate(bundle, SOURCE, with_baseline=True, replicates=REPLICATES)


def predictions(bundle: Bundle) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        output = bundle.model(bundle.encoder.encode_examples(JUDGED))
    columns = natural_units(output, SMALL_SPEC.tasks).T
    return {task.name: column for task, column in zip(SMALL_SPEC.tasks, columns, strict=True)}


def known(name: str) -> np.ndarray:
    """The judged labels, NaN where missing."""
    labels: np.ndarray = JUDGED.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return labels


def pair_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Every pair of a positive and a negative, compared."""
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


@pytest.mark.parametrize("head", ["click", "like"])
def test_figures_of_a_binary_head_are_those_computed_by_hand(
    bundle: Bundle, report: EvaluationReport, head: str
) -> None:
    labels, scores = known(head), predictions(bundle)[head]
    labels, scores = labels[~np.isnan(labels)], scores[~np.isnan(labels)]
    found = report.heads[head]

    assert isinstance(found, BinaryReport)
    assert (found.rows, found.positives) == (len(labels), labels.sum())
    assert found.rows < len(JUDGED)
    assert found.auc == pytest.approx(pair_auc(labels, scores), abs=1e-6)
    chance = np.where(labels == 1, scores, 1 - scores)
    assert found.log_loss == pytest.approx(-np.log(chance).mean(), rel=1e-5)
    assert found.calibration == pytest.approx(scores.mean() / labels.mean(), rel=1e-5)


@pytest.mark.parametrize(("head", "label"), [("watch_time", "watch_time"), ("rating", "survey_rating")])
def test_figures_of_a_regression_head_are_in_its_unit(
    bundle: Bundle, report: EvaluationReport, head: str, label: str
) -> None:
    labels, scores = known(label), predictions(bundle)[head]
    labels, scores = labels[~np.isnan(labels)], scores[~np.isnan(labels)]
    found = report.heads[head]

    assert isinstance(found, RegressionReport)
    assert found.rmse == pytest.approx(np.sqrt(((labels - scores) ** 2).mean()), rel=1e-5)
    assert found.calibration == pytest.approx(scores.sum() / labels.sum(), rel=1e-5)
    assert (found.rows, found.auc) == (len(labels), None)


def test_rows_after_the_training_are_judged_and_no_others(report: EvaluationReport, bundle: Bundle) -> None:
    assert report.rows == len(JUDGED)
    until_ms = JUDGED.column("time_ms")[100].as_py()
    assert evaluate(bundle, SOURCE, until_ms=until_ms, replicates=5).rows == 100


def test_intervals_hold_the_figure_and_come_from_viewers(report: EvaluationReport) -> None:
    for head in ("click", "like"):
        found = report.heads[head]
        assert isinstance(found, BinaryReport)
        assert found.auc is not None
        assert found.auc_ci is not None
        assert found.auc_ci[0] < found.auc < found.auc_ci[1]


def test_an_interval_is_wider_where_a_viewers_rows_are_alike(bundle: Bundle) -> None:
    first = JUDGED.slice(0, 400)
    twins = pa.Table.from_batches([first] * 8).sort_by("time_ms").combine_chunks().to_batches()[0]
    singles = twins.set_column(
        twins.schema.get_field_index("user_id"), "user_id", pa.array(np.arange(len(twins)))
    )

    def width(records: pa.RecordBatch) -> float:
        interval = evaluate(bundle, RecordSource(records), replicates=200).heads["click"].auc_ci
        assert interval is not None
        return interval[1] - interval[0]

    assert width(twins) > 1.5 * width(singles)


def test_rows_without_an_id_are_of_a_viewer_each() -> None:
    ids = pa.array(["b", None, "a", "b", None, "a\0"], pa.large_string())

    assert viewer_numbers(ids).tolist() == [3, 4, 1, 3, 5, 2]
    assert viewer_numbers(pa.nulls(2, pa.large_string())).tolist() == [1, 2]


def test_the_baseline_is_fitted_on_the_training_rows_and_judged_on_the_same_rows(
    report: EvaluationReport,
) -> None:
    rates = SmoothedRates(["user_id", "video_id", "hour"], ["click", "like"])
    rates.fit([LEARNED])
    for place, head in enumerate(("click", "like")):
        labels = known(head)
        expected = pair_auc(labels[~np.isnan(labels)], rates.score(JUDGED)[~np.isnan(labels), place])
        found = report.heads[head]
        assert isinstance(found, BinaryReport)
        assert found.baseline_auc == pytest.approx(expected, abs=1e-6)
        assert found.auc is not None
        assert found.baseline_auc_ci is not None
        assert found.gain_ci is not None
        assert found.gain_ci[0] <= found.auc - expected <= found.gain_ci[1]


def test_a_baseline_without_the_training_rows_is_refused(bundle: Bundle) -> None:
    with pytest.raises(SourceError, match="expected the rows that the bundle was trained on, found none"):
        evaluate(bundle, RecordSource(JUDGED), with_baseline=True)


def test_rows_that_were_learned_from_are_refused(bundle: Bundle) -> None:
    watermark_ms = LEARNED.column("time_ms")[-1].as_py()
    message = (
        r"--since: expected a time after the bundle's training, which reached 2023-11-14T22:\d\d:\d\d\.\d{3}"
    )
    for since_ms in (watermark_ms, watermark_ms - 1, 0):
        with pytest.raises(SourceError, match=message):
            evaluate(bundle, SOURCE, since_ms=since_ms)
    assert evaluate(bundle, SOURCE, since_ms=watermark_ms + 1, replicates=5).rows == len(JUDGED)


def test_a_range_without_rows_is_refused(bundle: Bundle) -> None:
    with pytest.raises(
        SourceError, match="records: expected examples within --since and --until, found none"
    ):
        evaluate(bundle, SOURCE, since_ms=2_000_000_000_000)


def test_a_source_without_a_label_is_refused(bundle: Bundle) -> None:
    with pytest.raises(SourceError, match="task 'like' expects a label column 'like'"):
        evaluate(bundle, RecordSource(RECORDS.drop_columns(["like"])))


def test_frozen_equals_live_without_features_that_learn_from_the_stream(bundle: Bundle) -> None:
    frozen, live = (evaluate(bundle, SOURCE, features=mode, replicates=2) for mode in FeatureMode)

    assert frozen.heads == live.heads
    assert (frozen.features, live.features) == ("frozen", "live")


def test_judging_changes_nothing_of_the_bundle(bundle: Bundle) -> None:
    before = {name: tensor.clone() for name, tensor in bundle.model.state_dict().items()}
    state = bundle.encoder.state()
    evaluate(bundle, SOURCE, replicates=2)
    assert bundle.encoder.state() == state
    for name, tensor in bundle.model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_json_has_every_figure_of_a_heads_kind(bundle: Bundle) -> None:
    one_class = JUDGED.set_column(
        JUDGED.schema.get_field_index("like"), "like", pa.array([0.0] * len(JUDGED), pa.float64())
    )
    found = evaluate(bundle, RecordSource(one_class), replicates=5)
    document = json.loads(found.model_dump_json(exclude_unset=True))

    assert document.keys() == {"model_version", "features", "rows", "heads", "warnings"}
    binary = {"rows", "positives", "auc", "auc_ci", "log_loss", "calibration"}
    assert document["heads"]["click"].keys() == binary
    assert document["heads"]["like"].keys() == binary | {"no_interval"}
    assert document["heads"]["watch_time"].keys() == {"rows", "rmse", "calibration"}
    low, high = document["heads"]["click"]["auc_ci"]
    assert low < high
    undefined = {key: document["heads"]["like"][key] for key in ("auc", "auc_ci", "calibration", "positives")}
    assert undefined == {"auc": None, "auc_ci": None, "calibration": None, "positives": 0}
    assert document["heads"]["like"]["no_interval"] == "0 positives of at least 10"


def test_too_few_viewers_have_no_interval_and_json_and_tables_say_why(bundle: Bundle) -> None:
    viewers = np.arange(len(RECORDS)) % 12
    few = RecordSource(with_column(RECORDS, "user_id", viewers))
    found = evaluate(bundle, few, with_baseline=True, replicates=5)

    document = json.loads(found.model_dump_json(exclude_unset=True))["heads"]
    for head in ("click", "like"):
        assert document[head]["no_interval"] == "12 viewers of at least 30"
        intervals = [document[head][name] for name in ("auc_ci", "baseline_auc_ci", "gain_ci")]
        assert intervals == [None, None, None]
        assert 0 < document[head]["auc"] < 1
    console = Console(file=io.StringIO(), width=80)
    for table in (evaluation_table(found), comparison_table(found)):
        console.print(table)
    shown = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert shown.count("click has no interval: 12 viewers of at least 30") == 2
    assert f"{document['click']['auc']:.4f}" in shown


def test_the_tables_of_a_real_log_fit_into_80_columns() -> None:
    head = BinaryReport(
        rows=1_436_609,
        positives=1_234_567,
        auc=0.7123,
        auc_ci=(0.7011, 0.7234),
        log_loss=0.5,
        calibration=1.05,
        baseline_auc=0.65,
        baseline_auc_ci=(0.6499, 0.6501),
        gain_ci=(-0.0123, 0.0623),
    )
    watch_time = RegressionReport(rows=1_436_609, rmse=12_345.678, calibration=0.9)
    heads = {"profile_enter": head, "watch_time": watch_time}
    report = EvaluationReport(
        model_version="kuairand-20220503T155959Z-05d7a9fe",
        features=FeatureMode.FROZEN,
        rows=1_436_609,
        heads=heads,
    )
    console = Console(file=io.StringIO(), width=80)

    console.print(evaluation_table(report))
    console.print(comparison_table(report))

    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in shown
    assert "features frozen; in brackets: 95 % interval over viewers" in shown
    for figure in ("1,436,609", "1,234,567", "0.7123", "[0.7011, 0.7234]", "0.5000", "12345.68"):
        assert figure in shown
    assert "profile_enter │ 0.6500 [0.6499, 0.6501] │ +0.0623 [-0.0123, +0.0623]" in shown
