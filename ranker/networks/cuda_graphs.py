"""A module recorded on CUDA for a few sizes and replayed, so that starting its kernels costs next to nothing.

Source: CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.

Shape letters: B rows, H width of the input.
"""

from typing import Final

import torch
from torch import Tensor, nn

SIZES: Final = (64, 128, 256, 512, 1024, 2048, 4096)
"""Rows that are recorded; a batch is padded to the next one, and a larger one than all runs unrecorded."""
WARMING_RUNS: Final = 3
"""Runs before recording, in which libraries choose their kernels."""


class CudaGraphs:
    """Replays a module whose rows do not depend on each other.

    Args:
        module: Takes (B, H) and may overwrite it.
        width: H.
        dtype: Of the input.
        device: A CUDA device.
    """

    def __init__(self, module: nn.Module, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self._module = module
        self._recorded = {size: self._record(size, width, dtype, device) for size in SIZES}

    @torch.inference_mode()
    def _record(
        self, size: int, width: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        inputs = torch.zeros((size, width), dtype=dtype, device=device)
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARMING_RUNS):
                self._module(inputs)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._module(inputs)
        return graph, inputs, outputs

    @torch.inference_mode()
    def __call__(self, hidden_bh: Tensor) -> Tensor:
        """The module's output for B rows."""
        size = next((size for size in SIZES if size >= len(hidden_bh)), None)
        if size is None:
            return self._module(hidden_bh)  # type: ignore[no-any-return]
        graph, inputs, outputs = self._recorded[size]
        inputs[: len(hidden_bh)] = hidden_bh
        graph.replay()
        return outputs[: len(hidden_bh)].clone()
