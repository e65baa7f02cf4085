"""A network's predictions of some days, each after one pass over all earlier rows.

One run predicts all days. At the beginning of a day, the weights that would be exported predict the day with
frozen and with live features, without changing the run. Then the run goes on through the day as `watchnext
train` does, and predicts each batch with the exported weights before it learns the batch.

Shape letters: N rows of all days, B rows of a batch, T tasks.
"""

import copy
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from load_tests.judging.log import Day, Log
from ranker.events import TIME_MS
from ranker.features.batch import Encoded
from ranker.features.state.feature_state import FeatureState
from ranker.labels.matrix import label_matrix
from ranker.labels.natural_units import natural_units
from ranker.spec import RankerSpec
from training.evaluate import BATCH_ROWS
from training.trainer import Trainer
from training.waiting import WaitingRows

FROZEN: Final = "frozen"
LIVE: Final = "live"
LEARNING: Final = "learning on"
Predictions = dict[str, NDArray[np.float64]]
"""Predictions by FROZEN, LIVE and LEARNING: (N, T) in natural units."""


def one_pass(spec: RankerSpec, log: Log, days: Sequence[Day], seed: int) -> Predictions:
    """Train in temporal order, and predict the days on the way."""
    trainer = Trainer(spec, seed=seed)
    found: dict[str, list[NDArray[np.float64]]] = {FROZEN: [], LIVE: [], LEARNING: []}
    reached_ms = None
    for day in days:
        learn(trainer, log, reached_ms, day.since_ms)
        for mode in (FROZEN, LIVE):
            found[mode].append(judge(trainer, log, day, live=mode == LIVE))
        found[LEARNING].append(learn_on(trainer, log, day))
        reached_ms = day.until_ms
    return {mode: np.concatenate(predicted) for mode, predicted in found.items()}


def second_pass(spec: RankerSpec, log: Log, days: Sequence[Day], seed: int) -> Predictions:
    """Learn all rows before each day a second time, and predict the day.

    The second pass begins with an empty feature state and an earlier time, while rows of ids keep the time of
    their last use; so the spec must not have ids that expire.
    """
    trainer = Trainer(spec, seed=seed)
    found: dict[str, list[NDArray[np.float64]]] = {FROZEN: [], LIVE: []}
    reached_ms = None
    for day in days:
        learn(trainer, log, reached_ms, day.since_ms)
        again = copy.deepcopy(trainer)
        again.encoder.feature_state = FeatureState(spec, again.encoder.layout)
        again.waiting = WaitingRows(again.turns)
        with torch.random.fork_rng(devices=[]):  # keep the second pass from advancing the first one's RNG
            learn(again, log, None, day.since_ms)
        for mode, predicted in found.items():
            predicted.append(judge(again, log, day, live=mode == LIVE))
        reached_ms = day.since_ms
    return {mode: np.concatenate(predicted) for mode, predicted in found.items()}


def learn(trainer: Trainer, log: Log, since_ms: int | None, until_ms: int) -> None:
    """Learn what is known at the end of a range of the log."""
    for batch in log.batches(trainer.spec.training.batch_size, since_ms, until_ms):
        trainer.step(batch)
    trainer.learn_due(until_ms)


def judge(trainer: Trainer, log: Log, day: Day, *, live: bool) -> NDArray[np.float64]:
    """Predict a day with the weights that would be exported now: (rows of the day, T) in natural units."""
    encoder = trainer.encoder.with_own_state() if live else trainer.encoder
    predicted = []
    with trainer.exported():
        for batch in log.batches(BATCH_ROWS, day.since_ms, day.until_ms):
            labels = label_matrix(batch, trainer.spec.feedback) if live else None
            predicted.append(_predict(trainer, encoder.encode_examples(batch, labels=labels)))
    return np.concatenate(predicted)


def learn_on(trainer: Trainer, log: Log, day: Day) -> NDArray[np.float64]:
    """Predict each batch of a day before learning it: (rows of the day, T) in natural units."""
    ahead = trainer.encoder.with_own_state()  # encodes each batch as the trainer does after it
    predicted = []
    for batch in log.batches(trainer.spec.training.batch_size, day.since_ms, day.until_ms):
        trainer.learn_due(batch.column(TIME_MS)[0].as_py())
        encoded = ahead.encode_examples(batch, labels=label_matrix(batch, trainer.spec.feedback))
        with trainer.exported():
            predicted.append(_predict(trainer, encoded))
        trainer.step(batch)
    trainer.learn_due(day.until_ms)
    return np.concatenate(predicted)


@torch.inference_mode()
def _predict(trainer: Trainer, encoded: Encoded) -> NDArray[np.float64]:
    return natural_units(trainer.model(encoded.to(trainer.device)), trainer.spec.tasks)
