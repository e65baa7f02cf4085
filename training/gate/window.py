"""The newest rows that were learned, as they were when they were predicted: what two models are compared on.

Every row is kept with the labels, with what the trainer predicted before it learned from it, and with what
its features were at that time, in a form that any model of the same features reads. A window depends on the
rows alone, and a checkpoint has it: whoever was killed comes to the same one.

Shape letters: N rows, W words of a record, T tasks.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ranker.events import TIME_MS, USER_ID
from ranker.features.encoder import Encoder
from ranker.features.hashing import hash_strings
from ranker.features.record import Words
from ranker.features.sides import Group
from ranker.features.state.reading import History, Known
from ranker.gate_spec import Gate, GateSpec
from ranker.labels.natural_units import natural_units
from ranker.networks.model import RankingModel
from training.trainer import StepResult

Arrays = dict[str, NDArray[Any]]
ROWS_AT_ONCE: Final = 1024
"""Rows that a model predicts at once."""
_UNSIGNED: Final = ("words", "viewers", "/values")
"""What the names of arrays of 64-bit hashes end with; a checkpoint has them as signed numbers."""


class Window:
    """The newest rows, batch after batch.

    Args:
        rows: How many are kept.
    """

    def __init__(self, rows: int) -> None:
        self._most = rows
        self._batches: deque[Arrays] = deque()
        self._rows = 0

    @classmethod
    def of(cls, gate: Gate) -> Self:
        """The window that a gate needs; if it is off, that of the usual one, as watchdogs look at it, too."""
        return cls((gate if isinstance(gate, GateSpec) else GateSpec()).rows)

    def after_step(self, records: pa.RecordBatch, result: StepResult) -> None:
        """Take in a batch; see `StepListener`."""
        viewers = records.column(USER_ID).cast(pa.string()).fill_null("")
        batch = {
            "times": records.column(TIME_MS).to_numpy(),
            "viewers": hash_strings(viewers, seed=0),
            "labels": result.labels,
            "predictions": result.predictions,
            "words": result.examples.words,
        }
        for group, known in result.examples.known.items():
            batch[f"{group}/numbers"] = known.numbers
            for name, history in known.histories.items():
                batch[f"{group}/histories/{name}/values"] = history.values
                batch[f"{group}/histories/{name}/ages"] = history.ages_s
        self._append(batch)

    def rows(self) -> "WindowRows | None":
        """The rows that are kept, oldest first; None before the first."""
        return WindowRows(self._joined()) if self._batches else None

    def state_dict(self) -> Arrays:
        """The rows that are kept; see `StepListener`."""
        if not self._batches:
            return {}
        return {name: _signed(name, array).copy() for name, array in self._joined().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from saved rows; see `StepListener`."""
        self._batches.clear()
        self._rows = 0
        if state:
            self._append({name: _unsigned(name, array) for name, array in state.items()})

    def _append(self, batch: Arrays) -> None:
        if self._batches and self._batches[-1].keys() != batch.keys():  # the spec's features have changed
            self._batches.clear()
            self._rows = 0
        self._batches.append(batch)
        self._rows += len(batch["times"])
        while self._rows - len(self._batches[0]["times"]) >= self._most:
            self._rows -= len(self._batches.popleft()["times"])

    def _joined(self) -> Arrays:
        return {
            name: np.concatenate([batch[name] for batch in self._batches])[-self._most :]
            for name in self._batches[0]
        }


class WindowRows:
    """N rows of a window.

    Attributes:
        times: (N,) event times in milliseconds.
        viewers: (N,) hashes of the viewers' ids.
        labels: (N, T) in natural units, NaN where missing.
        predictions: (N, T) in natural units, made by the trainer before it learned from the rows.
        words: (N, W) records in the layout of `Encoder.example_records`.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self.times: NDArray[np.int64] = arrays["times"]
        self.viewers: NDArray[np.uint64] = arrays["viewers"]
        self.labels: NDArray[np.float32] = arrays["labels"]
        self.predictions: NDArray[np.float64] = arrays["predictions"]
        self.words: Words = arrays["words"]

    def __len__(self) -> int:
        return len(self.times)

    def later_than(self, time_ms: int) -> Self:
        """The rows of a later time."""
        later = self.times > time_ms
        return type(self)({name: array[later] for name, array in self._arrays.items()})

    def newest(self, count: int) -> Self:
        """The newest rows, or all."""
        return type(self)({name: array[-count:] for name, array in self._arrays.items()})

    def known(self) -> dict[Group, Known]:
        """What the feature state knew of each row at its time."""
        return {
            group: Known(
                self._arrays[f"{group}/numbers"],
                {
                    name.split("/")[2]: History(
                        self._arrays[name], self._arrays[name.removesuffix("values") + "ages"]
                    )
                    for name in self._arrays
                    if name.startswith(f"{group}/histories/") and name.endswith("/values")
                },
            )
            for group in Group
        }

    def predicted_by(self, encoder: Encoder, model: RankingModel) -> NDArray[np.float64]:
        """(N, T) predictions of a model in natural units, from the features as they were.

        Args:
            encoder: The model's; of the same features.
            model: In evaluation mode.
        """
        return predict_words(encoder, model, self.words, self.known())


def predict_words(
    encoder: Encoder, model: RankingModel, words: Words, known: Mapping[Group, Known]
) -> NDArray[np.float64]:
    """Predict whole rows from their records; see `Encoder.read_words`.

    Returns:
        (N, T) in natural units.
    """
    parts = [np.empty((0, len(model.spec.tasks)))]
    with torch.inference_mode():
        for start in range(0, len(words), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            here = {group: _part(one, rows) for group, one in known.items()}
            encoded = encoder.read_words(words[rows], here).to(model.device)
            parts.append(natural_units(model(encoded), model.spec.tasks))
    return np.concatenate(parts)


def _part(known: Known, rows: slice) -> Known:
    histories = {
        name: History(history.values[rows], history.ages_s[rows]) for name, history in known.histories.items()
    }
    return Known(known.numbers[rows], histories)


def _signed(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.int64) if name.endswith(_UNSIGNED) else array


def _unsigned(name: str, array: NDArray[Any]) -> NDArray[Any]:
    return array.view(np.uint64) if name.endswith(_UNSIGNED) else array
