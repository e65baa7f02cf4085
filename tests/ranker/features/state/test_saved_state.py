"""A run that was stopped in the middle of a log, and one that goes on from a bundle's state."""

from pathlib import Path

import pyarrow as pa
import pytest
import safetensors.numpy

from ranker.features.encoder import Encoder
from ranker.features.sides import Group
from ranker.labels.matrix import label_matrix
from ranker.spec_file import parse_spec
from tests.ranker.features.small_encoder import everything
from tests.ranker.features.state.small_state import (
    STATE_SPEC,
    STATE_YAML,
    batch,
    one,
    same_state,
    some_log,
    together,
)
from training.checkpoint import RunIdentity, restore, save
from training.loop import TrainingLoop
from training.sources.merge import rebatch
from training.trainer import Trainer

ROWS = 8
BATCHES = list(rebatch([pa.Table.from_batches([some_log()])], ROWS))


@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_that_was_stopped_knows_the_same_as_one_that_was_not(tmp_path: Path, stop: int) -> None:
    whole = Trainer(STATE_SPEC, seed=1)
    expected = [whole.step(step).predictions for step in BATCHES]
    first = Trainer(STATE_SPEC, seed=1)
    for step in BATCHES[:stop]:
        first.step(step)
    run = RunIdentity.of(STATE_SPEC, source="test_saved_state.py", since_ms=1, until_ms=None, seed=1)
    save(tmp_path / "checkpoint", TrainingLoop(first), run)

    second = Trainer(STATE_SPEC, seed=2)
    restore(tmp_path / "checkpoint", TrainingLoop(second), run)

    for step, predictions in zip(BATCHES[stop:], expected[stop:], strict=True):
        assert (second.step(step).predictions == predictions).all()
    same_state(whole.encoder.feature_state, second.encoder.feature_state)


def test_a_state_survives_safetensors_bit_for_bit() -> None:
    encoder, copy = Encoder(STATE_SPEC), Encoder(STATE_SPEC)
    for step in BATCHES[:4]:
        encoder.encode_examples(step, observe=True, labels=label_matrix(step, STATE_SPEC.feedback))

    copy.load(encoder.state())
    copy.feature_state.load(safetensors.numpy.load(safetensors.numpy.save(encoder.feature_state.state())))

    for step in BATCHES[4:]:
        left, right = (
            e.encode_examples(step, labels=label_matrix(step, STATE_SPEC.feedback)) for e in (encoder, copy)
        )
        for a, b in zip(everything(left), everything(right), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_features_may_be_called_as_parts_of_the_state_are() -> None:
    renamed = STATE_YAML.replace("tag_age", "pending").replace("user_length_rates", "applied")
    spec = parse_spec(renamed.replace("tag_rates, kind", "ids, kind"), where="renamed")
    encoder, copy = Encoder(spec), Encoder(spec)
    for step in BATCHES:
        encoder.encode_examples(step, labels=label_matrix(step, spec.feedback))

    copy.feature_state.load(safetensors.numpy.load(safetensors.numpy.save(encoder.feature_state.state())))
    same_state(encoder.feature_state, copy.feature_state)


def test_a_request_reads_what_a_log_at_the_same_time_reads() -> None:
    encoder = Encoder(STATE_SPEC)
    for step in BATCHES:
        encoder.encode_examples(step, observe=True, labels=label_matrix(step, STATE_SPEC.feedback))
    values = {
        "user_id": "u1",
        "tab": "a",
        "video_id": "v2",
        "author_id": "p1",
        "tags": ["x"],
        "duration_s": 3.0,
    }
    time_ms = int(BATCHES[-1].column("time_ms")[-1].as_py()) + 5_000

    asked = encoder.encode_request(values, [values], time_ms=time_ms)

    logged = encoder.encode_examples(batch(together(one(time_ms, **values))))
    for group in Group:
        assert (asked.groups[group].numbers == logged.groups[group].numbers).all()
