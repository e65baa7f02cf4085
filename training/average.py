"""An exponential average of the dense weights: what is exported instead of the last step's weights.

Source: Polyak and Juditsky, SIAM J. Control Optim. 30, 1992, https://doi.org/10.1137/0330046.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """Follows parameters with average += (1 - decay) * (parameter - average) a step.

    The first steps count for more, so that the weights before training are soon forgotten: after n steps,
    the decay is at most n / (n + 10).

    Args:
        parameters: What to average; embedding tables are left out, of which a step changes few rows.
        decay: Share of the average that a step keeps; 0 exports the last weights.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.steps = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self) -> None:
        """Take the parameters as they are now into the average."""
        steps = int(self.steps)
        torch._foreach_lerp_(self.average, self.parameters, 1 - min(self.decay, steps / (steps + 10)))
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the parameters' place, for as long as the context lasts."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        self._fill(self.average)
        try:
            yield
        finally:
            self._fill(kept)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, in the parameters' order, and the number of steps."""
        return {"steps": self.steps} | {str(index): tensor for index, tensor in enumerate(self.average)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])

    @torch.no_grad()
    def _fill(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
