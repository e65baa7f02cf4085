"""An exponential moving average of the dense weights, which is exported in place of the last weights.

Source: Polyak and Juditsky, SIAM J. Control Optim. 30, 1992, https://doi.org/10.1137/0330046.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """Moves towards the parameters at every step: average += (1 - decay) * (parameter - average).

    After n steps the decay is at most n / (n + 10), so that the initial weights are soon forgotten.

    Args:
        parameters: The parameters to average, without embedding tables, of which a step changes few rows.
        decay: Share of the average that a step keeps; 0 exports the last weights.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.steps = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present parameters."""
        steps = int(self.steps)
        torch._foreach_lerp_(self.average, self.parameters, 1 - min(self.decay, steps / (steps + 10)))
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the parameters to the average while the context lasts."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the parameters' index, and the number of steps."""
        return {"steps": self.steps} | {str(index): tensor for index, tensor in enumerate(self.average)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def _fill(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
