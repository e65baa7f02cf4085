"""A description of the machine that a result was measured on."""

import os
import platform
from pathlib import Path

import torch

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Instruction sets that decide the speed of matrix products."""


def processor() -> str:
    """Return the processor's name and its instruction sets for matrix products."""
    name, flags = platform.processor() or platform.machine(), ""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    found = [flag for flag in FLAGS if flag in flags.split()]
    return f"{name} ({', '.join(found) or 'no AVX2'})"


def machine() -> dict[str, str | int]:
    """Return the processor, cores, memory and versions of Python and torch."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
