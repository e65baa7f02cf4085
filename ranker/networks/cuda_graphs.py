"""A module captured as CUDA graphs of a few batch sizes, whose replay is one launch for all kernels.

Source: CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

Shape letters: B rows, H width of the input, O width of the output.
"""

from collections.abc import Callable
from typing import Final, cast

import torch
from torch import Tensor, nn

SIZES: Final = (64, 128, 256, 512, 1024, 2048, 4096)
"""Batch sizes that are captured; a batch is padded to the next one, and a larger one runs without a graph."""


class CudaGraphs:
    """Replays a module whose rows do not depend on each other; calls must not overlap.

    Args:
        module: Maps (B, H) to (B, O), and may overwrite its input.
        width: H.
        dtype: Type of the input.
        device: The current CUDA device.
    """

    def __init__(self, module: nn.Module, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._module = module
        self._captured = {
            size: self._capture(torch.zeros((size, width), dtype=dtype, device=device)) for size in SIZES
        }

    @torch.inference_mode()
    def _capture(self, input_bh: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        # Given the module itself, torch would replace its forward by the graph of this one size
        replay = torch.cuda.make_graphed_callables(self._module.forward, (input_bh,))
        return input_bh, cast(Callable[[Tensor], Tensor], replay)

    @torch.inference_mode()
    def __call__(self, hidden_bh: Tensor) -> Tensor:
        """Apply the module.

        Args:
            hidden_bh: (B, H) of the type and on the device of the capture.

        Returns:
            (B, O) in its own memory.
        """
        rows = len(hidden_bh)
        size = next((size for size in SIZES if size >= rows), None)
        if size is None:
            return self._module(hidden_bh)  # type: ignore[no-any-return]
        captured_bh, replay = self._captured[size]
        captured_bh[:rows] = hidden_bh
        return replay(captured_bh)[:rows].clone()  # the next replay overwrites the graph's output
