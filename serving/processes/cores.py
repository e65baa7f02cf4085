"""How many cores this process can use."""

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota_file: Path = CPU_QUOTA) -> int:
    """Count the cores that this process may run on, limited by the CPU quota of its container.

    Args:
        quota_file: Holds the container's CPU time a period and the length of the period, in microseconds;
            see `cpu.max` in https://docs.kernel.org/admin-guide/cgroup-v2.html.

    Returns:
        At least 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
