"""The newest rows, as they were when they were predicted."""

import numpy as np
import pyarrow as pa
import torch

from ranker.bundles.bundle import unpack
from ranker.features.hashing import hash_strings
from ranker.labels.matrix import label_matrix
from ranker.labels.natural_units import natural_units
from ranker.spec import RankerSpec
from tests.ranker.small_spec import SMALL_SPEC, random_records
from tests.serving.state_ranker import STATE_SPEC, log_of
from training.checkpoint import RunIdentity
from training.gate.window import Window
from training.loop import TrainingLoop
from training.publish import export
from training.sources.base import SourceBatch
from training.trainer import Trainer


def learned(
    window: Window,
    spec: RankerSpec = SMALL_SPEC,
    records: pa.RecordBatch | None = None,
    *,
    rows: int = 32,
) -> TrainingLoop:
    records = random_records(256) if records is None else records
    loop = TrainingLoop(Trainer(spec, seed=0))
    loop.listeners["gate"] = window
    starts = range(0, records.num_rows, rows)
    loop.run((SourceBatch(records.slice(start, rows), {}) for start in starts), [])
    return loop


def test_the_newest_rows_are_kept_however_batches_are_cut() -> None:
    records = random_records(256)
    for rows in (32, 100, 256):
        window = Window(50)
        learned(window, rows=rows)
        found = window.rows()
        assert found is not None
        newest = records.slice(206)
        assert found.times.tolist() == newest.column("time_ms").to_pylist()
        assert np.array_equal(found.labels, label_matrix(newest, SMALL_SPEC.tasks), equal_nan=True)
        users = hash_strings(newest.column("user_id").cast("string"), seed=0)
        assert np.array_equal(found.viewers, users)


def test_nothing_is_there_before_the_first_row() -> None:
    assert Window(5).rows() is None
    assert Window(5).state_dict() == {}


def test_predictions_are_those_that_the_trainer_made_before_it_learned() -> None:
    window = Window(10**6)
    trainer = Trainer(SMALL_SPEC, seed=0)
    records = random_records(96)
    made = []
    for start in range(0, 96, 32):
        result = trainer.step(records.slice(start, 32))
        window.after_step(records.slice(start, 32), result)
        made.append(result.predictions)
    rows = window.rows()
    assert rows is not None
    assert np.array_equal(rows.predictions, np.concatenate(made))


def test_an_older_bundle_predicts_rows_with_their_features_as_they_were() -> None:
    """The oracle lets the bundle's own state go on through all rows since it was made."""
    log, window = log_of(900), Window(150)
    run = RunIdentity.of(STATE_SPEC, source="log", since_ms=None, until_ms=None, seed=0)
    loop = learned(Window(1), STATE_SPEC, log.slice(0, 600), rows=100)
    bundle = unpack(export(loop, run, parent=None), where="the bundle")
    loop.listeners["gate"] = window
    loop.run((SourceBatch(log.slice(start, 100), {}) for start in range(600, 900, 100)), [])

    rows = window.rows()
    assert rows is not None
    found = rows.predicted_by(bundle.encoder, bundle.model)

    encoder = bundle.encoder.with_own_state()
    labels = label_matrix(log.slice(600), STATE_SPEC.feedback)
    with torch.inference_mode():
        outputs = bundle.model(encoder.encode_examples(log.slice(600), labels=labels))
    expected = natural_units(outputs, STATE_SPEC.tasks)[150:]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    stale = natural_units(bundle.model(bundle.encoder.encode_examples(log.slice(750))), STATE_SPEC.tasks)
    assert not np.allclose(found, stale, rtol=1e-3)


def test_a_saved_window_goes_on_like_one_that_was_never_saved() -> None:
    log, other = log_of(300), Window(120)
    whole = Window(120)
    first = learned(whole, STATE_SPEC, log.slice(0, 200), rows=50)
    other.load_state_dict({name: array.copy() for name, array in whole.state_dict().items()})
    first.listeners["other"] = other
    first.run((SourceBatch(log.slice(start, 50), {}) for start in (200, 250)), [])

    ours, theirs = whole.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[n], theirs[n], equal_nan=ours[n].dtype.kind == "f") for n in ours)
    assert all(array.dtype.kind in "if" for array in ours.values())
    other.load_state_dict({})
    assert other.rows() is None
