"""From the network's outputs to predictions in natural units.

Shape letters: B rows, T tasks.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.labels.label import Task, alike


def natural_units(output_bt: Tensor, tasks: Sequence[Task]) -> NDArray[np.float64]:
    """Turn the network's outputs into predictions.

    Args:
        output_bt: (B, T) float32.
        tasks: In the order of the columns.

    Returns:
        (B, T): probabilities of binary tasks; amounts, in the label's unit, of regression tasks.
    """
    output = output_bt.detach().double().cpu()
    natural = torch.empty_like(output)
    for task, columns in alike(tasks):
        # Of all columns, as torch rounds some numbers otherwise where rows are narrower.
        natural[:, columns] = task.natural_units(output)[:, columns]
    predictions: NDArray[np.float64] = natural.numpy()
    return predictions
