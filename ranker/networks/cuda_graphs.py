"""A module recorded on CUDA for a few batch sizes and replayed, so that its kernels launch at almost no cost.

Source: CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

Shape letters: B rows, H width of the input, O width of the output.
"""

from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, nn

SIZES: Final = (64, 128, 256, 512, 1024, 2048, 4096)
"""Numbers of rows that are recorded; a batch is padded to the next one, and a larger one runs unrecorded."""


class CudaGraphs:
    """Replays a module whose rows do not depend on each other. Calls must not overlap.

    Args:
        module: Maps (B, H) to (B, O), and may overwrite its input.
        width: H.
        dtype: Of the input.
        device: The current CUDA device.
    """

    def __init__(self, module: nn.Module, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._module = module
        self._recorded = {
            size: self._record(torch.zeros((size, width), dtype=dtype, device=device)) for size in SIZES
        }

    @torch.inference_mode()
    def _record(self, input_bh: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        # Given the module itself, torch would replace its forward by the graph of this one size.
        replay = torch.cuda.make_graphed_callables(self._module.forward, (input_bh,))
        return input_bh, cast(Callable[[Tensor], Tensor], replay)

    @torch.inference_mode()
    def __call__(self, hidden_bh: Tensor) -> Tensor:
        """Apply the module.

        Args:
            hidden_bh: (B, H) of the dtype and on the device that were recorded.

        Returns:
            (B, O), in memory of its own.
        """
        rows = len(hidden_bh)
        size = next((size for size in SIZES if size >= rows), None)
        if size is None:
            return self._module(hidden_bh)  # type: ignore[no-any-return]
        recorded_bh, replay = self._recorded[size]
        recorded_bh[:rows] = hidden_bh
        return replay(recorded_bh)[:rows].clone()  # the next replay overwrites what this one returned
