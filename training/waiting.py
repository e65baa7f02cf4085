"""Rows that were predicted when they were shown, and are learned when their labels are known.

A head learns a row once its label's wait has passed since the impression. Heads that wait for less than
`late_after` learn it together, when the longest of their waits has passed; each longer wait gives the row to
its heads a second time, with all others masked. A head with `late: importance` learns with the others that
the label is 0 so far, and in its own turn the labels of 1, both with weights that make the sum unbiased.

Shape letters: B rows of a batch, T tasks.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.features.batch import Encoded
from ranker.labels.label import Task


@dataclass(frozen=True)
class Turn:
    """The heads that learn a row at the same time.

    Attributes:
        wait_ms: How long after the impression.
        heads: (T,) those whose labels are known then.
        so_far: (T,) those that learn that the label is 0 so far.
        made_up_for: (T,) those of the heads that have learned so, and learn only labels of 1 now.
    """

    wait_ms: int
    heads: NDArray[np.bool_]
    so_far: NDArray[np.bool_]
    made_up_for: NDArray[np.bool_]

    def learned(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, T) what the heads learn of the labels, NaN where nothing: also where no label ever comes."""
        so_far = np.where(self.so_far & ~np.isnan(labels), np.float32(0), np.float32(np.nan))
        return np.where(self.heads, labels, so_far)

    def importance(self, labels: NDArray[np.float32], chance: NDArray[np.float64]) -> NDArray[np.float32]:
        """How much each loss counts.

        A row is learned as 0 with (1 - p)(1 + p), and if its label is 1 once more with 1 + p. At p the chance
        of a 1, the expected gradient is 0. Source: fake negative weighting in Ktena et al., RecSys 2019,
        https://arxiv.org/abs/1907.06558.

        Args:
            labels: (B, T) what `learned` gave.
            chance: (B, T) p, the present predictions.

        Returns:
            (B, T) float32; 1 for heads without `late: importance`.
        """
        early = np.where(self.so_far, (1 - chance) * (1 + chance), 1.0)
        later = np.where(np.nan_to_num(labels) > 0, 1 + chance, 0.0)
        return np.where(self.made_up_for, later, early).astype(np.float32)


def turns_of(tasks: Sequence[Task], late_after_s: float) -> list[Turn]:
    """When the heads learn a row, in the order of their waits.

    Args:
        tasks: The heads.
        late_after_s: Heads that wait for longer learn a row apart from the others.
    """
    waits = np.array([max(0.0, task.label_wait) for task in tasks])
    early = waits <= late_after_s
    when = np.where(early, waits[early].max(initial=0.0), waits)
    weighted = ~early & np.array([task.late == "importance" for task in tasks])
    never = np.zeros_like(early)
    found = {
        wait: Turn(round(wait * 1000), when == wait, never, weighted & (when == wait))
        for wait in np.unique(when)
    }
    if weighted.any():
        soon = when[early].max(initial=0.0)
        heads = found[soon].heads if soon in found else never
        found[soon] = Turn(round(soon * 1000), heads, weighted, never)
    return [found[wait] for wait in sorted(found)]


def at_once(tasks: Sequence[Task]) -> Turn:
    """The only turn of rows of which all labels are known."""
    never = np.zeros(len(tasks), bool)
    return Turn(0, ~never, never, never)


@dataclass(frozen=True)
class PredictedRows:
    """A batch as it was when it was predicted.

    Attributes:
        number: Rows that were read before it.
        times: (B,) int64 milliseconds at which the rows were shown.
        encoded: What the network takes.
        labels: (B, T) float32 in natural units, NaN where missing: what will be known.
        weights: (B,) float32 of the examples, bounded; None for 1 each.
        predictions: (B, T) float64 in natural units.
        trained: (T,) the heads that had learned something by then.
    """

    number: int
    times: NDArray[np.int64]
    encoded: Encoded
    labels: NDArray[np.float32]
    weights: NDArray[np.float32] | None
    predictions: NDArray[np.float64]
    trained: NDArray[np.bool_]


class WaitingRows:
    """Batches whose turns are still to come, in the order of their times.

    Args:
        turns: When rows are learned.
    """

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._queues: list[deque[PredictedRows]] = [deque() for _ in turns]

    def __len__(self) -> int:
        """How many rows wait for at least one turn."""
        return sum(len(batch.times) for batch in self._batches().values())

    def add(self, rows: PredictedRows, *, done: int = 0) -> None:
        """Let a batch wait.

        Args:
            rows: Not older than those that wait.
            done: So many turns are over already.
        """
        for queue in self._queues[done:]:
            queue.append(rows)

    def due(self, time_ms: int | None) -> Iterator[tuple[PredictedRows, Turn]]:
        """Give the batches whose labels are known at a time, in the order in which they became known.

        One leaves when the next is asked for, so that it stays if it could not be learned.

        Args:
            time_ms: The time; a label whose wait ends then is not yet known. None for the end of all waits.
        """
        while True:
            heads = [
                (int(queue[0].times[-1]) + turn.wait_ms, turn.wait_ms, index)
                for index, (queue, turn) in enumerate(zip(self._queues, self._turns, strict=True))
                if queue
            ]
            if not heads or (time_ms is not None and min(heads)[0] >= time_ms):
                return
            index = min(heads)[2]
            yield self._queues[index][0], self._turns[index]
            self._queues[index].popleft()

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, for a checkpoint."""
        state = {
            f"queues/{index}": torch.tensor([rows.number for rows in queue], dtype=torch.int64)
            for index, queue in enumerate(self._queues)
        }
        for number, rows in self._batches().items():
            state |= {f"{number}/encoded/{name}": tensor for name, tensor in rows.encoded.tensors().items()}
            state |= {f"{number}/{name}": torch.from_numpy(array) for name, array in _arrays(rows).items()}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` gave."""
        found: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            first, rest = name.split("/", 1)
            if first != "queues":
                found.setdefault(int(first), {})[rest] = tensor
        batches = {number: _rows(number, tensors) for number, tensors in found.items()}
        for index, queue in enumerate(self._queues):
            queue.clear()
            queue.extend(batches[number] for number in state[f"queues/{index}"].tolist())

    def _batches(self) -> dict[int, PredictedRows]:
        return {rows.number: rows for queue in self._queues for rows in queue}


_ARRAYS = ("times", "labels", "predictions", "trained")


def _arrays(rows: PredictedRows) -> dict[str, NDArray[Any]]:
    arrays = {name: getattr(rows, name) for name in _ARRAYS}
    return arrays if rows.weights is None else {**arrays, "weights": rows.weights}


def _rows(number: int, tensors: Mapping[str, Tensor]) -> PredictedRows:
    prefix = "encoded/"
    encoded = {n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
    weights = tensors["weights"].numpy() if "weights" in tensors else None
    arrays = {name: tensors[name].numpy() for name in _ARRAYS}
    return PredictedRows(number, encoded=Encoded.of_tensors(encoded), weights=weights, **arrays)
