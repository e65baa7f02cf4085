"""The machine that a result was measured on."""

import platform
from pathlib import Path

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
