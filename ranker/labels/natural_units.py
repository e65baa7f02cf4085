"""From the network's outputs to predictions in natural units.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.labels.label import Task

LOG_LIMIT: Final = 30.0
"""Transformed predictions are cut here before expm1: about 10^13 of any unit."""


def natural_units(output_bt: Tensor, tasks: Sequence[Task]) -> NDArray[np.float64]:
    """Turn the network's outputs into predictions.

    Args:
        output_bt: (B, T) float32: logits, or transformed values.
        tasks: In the order of the columns.

    Returns:
        (B, T): probabilities of binary tasks; regression tasks in their own unit.
    """
    output = output_bt.detach().double().cpu()
    binary = torch.tensor([task.kind == "binary" for task in tasks])
    log1p = torch.tensor([task.transform == "log1p" for task in tasks])
    seconds = output.clamp(max=LOG_LIMIT).expm1().clamp_min(0)
    natural: NDArray[np.float64] = torch.where(
        binary, output.sigmoid(), torch.where(log1p, seconds, output)
    ).numpy()
    return natural
