"""What is not published: a ranker whose numbers are not finite, or beyond all that is plausible.

Shape letters: C candidates, T tasks.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.bundles.bundle import GOLDEN, GOLDENS
from ranker.errors import BundleError
from ranker.features.state.feature_state import PENDING_LABELS
from training.trainer import Trainer

MAX_WEIGHT: Final = 1e6
"""No weight of a layer or an embedding is beyond; biases follow the labels' unit."""
MAX_LOGIT_SHIFT: Final = 20.0
"""A head whose mean is further from its labels' has not learned them."""
SPANS: Final = 10
"""A prediction is no further beyond the plausible labels than so many times their span."""


def check_ranker(trainer: Trainer) -> None:
    """Check the numbers that a bundle would have, while the trainer's model is what is exported.

    Raises:
        BundleError: One is not finite, or not plausible; the message names where it is.
    """
    for name, numbers in _numbers(trainer):
        broken = ~np.isfinite(numbers)
        if broken.any():
            raise _refusal(f"finite numbers in {name}", f"{broken.sum()} of {numbers.size} not finite")
    for name, tensor in trainer.model.state_dict().items():
        greatest = float(tensor.abs().max()) if tensor.numel() else 0.0
        if greatest > MAX_WEIGHT and not name.endswith("bias"):
            raise _refusal(f"weights up to {MAX_WEIGHT:g} in {name}", f"{greatest:g}")
    for task, shift in zip(trainer.spec.tasks, trainer.correction.shifts().tolist(), strict=True):
        if task.is_probability and not abs(shift) <= MAX_LOGIT_SHIFT:
            raise _refusal(f"a correction of '{task.name}' up to {MAX_LOGIT_SHIFT:g}", f"{shift:g}")


def check_predictions(trainer: Trainer, contents: Mapping[str, bytes]) -> None:
    """Check the predictions of a bundle's golden requests.

    Raises:
        BundleError: One is beyond all plausible labels; the message names the head.
    """
    golden = GOLDENS.validate_json(contents[GOLDEN])
    prediction_ct = np.concatenate([np.reshape(g.predictions, (-1, len(trainer.spec.tasks))) for g in golden])
    ranges = trainer.plausibility.ranges()
    for task, prediction_c in zip(trainer.spec.tasks, prediction_ct.T, strict=True):
        low, high = ranges[task.name]
        if not np.isfinite([low, high]).all():
            continue
        beyond = np.maximum(low - prediction_c, prediction_c - high) > SPANS * (high - low)
        if beyond.any():
            raise _refusal(
                f"predictions of '{task.name}' near its plausible labels, {low:.4g} to {high:.4g}",
                f"{prediction_c[beyond][0]:.4g}",
            )


def _numbers(trainer: Trainer) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, tensor in trainer.model.state_dict().items():
        yield name, tensor.float().cpu().numpy()
    for name, array in trainer.encoder.arrays().items():
        if np.issubdtype(array.dtype, np.floating):
            yield name, array[~np.isnan(array)] if name == PENDING_LABELS else array
    for group, statistics in trainer.encoder.state().statistics.items():
        for name, numbers in statistics.model_dump().items():
            yield f"{name} of the {group} numbers", np.asarray(numbers, np.float64)


def _refusal(expected: str, found: str) -> BundleError:
    return BundleError(
        f"the new bundle: expected {expected}, found {found}; nothing was published, and the checkpoint stays"
    )
