"""The machine that a result was measured on."""

import os
import platform
from pathlib import Path

import torch

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""What decides how fast a matrix product is, and in which precision."""


def processor() -> str:
    """The processor's name and what it has for bfloat16."""
    name, flags = platform.processor() or platform.machine(), ""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = dict(line.split(":", 1) for line in information.read_text().splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        name, flags = fields.get("model name", name), fields.get("flags", "")
    found = [flag for flag in FLAGS if flag in flags.split()]
    return f"{name} ({', '.join(found) or 'no AVX2'})"


def machine() -> dict[str, str | int]:
    """Processor, cores, memory and the versions that matter."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
