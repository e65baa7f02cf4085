"""Where and how precisely to compute: `auto` takes CUDA if there is any, and bfloat16 where it is fast."""

import logging

import torch

from ranker.errors import UserError

logger = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda` into a device.

    Raises:
        UserError: Another name, or CUDA where there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device: expected auto, cpu or cuda, found '{wanted}'")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: expected a CUDA device for cuda, found none; use auto or cpu")
    name = "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 beat float32: CUDA, or a processor with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
