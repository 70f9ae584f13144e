"""This machine: what it is, how many threads compute on it, and how they wait for each other.

By default, threads of OpenMP and of ONNX Runtime that have finished spin until the others have. If another process uses
one of the cores, they spin on a core that the slowest thread needs, and all become slow.
What a user has set, such as OMP_NUM_THREADS, is never changed.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def machine() -> str:
    """The machine in words: processor and number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores"


def cores() -> int:
    """The cores that this process may use: all, or those it is pinned to, or what its container is allowed.

    Divided by the number of processes, if torchrun or accelerate started several on this machine.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, min(count, _allowed(CGROUP)) // max(1, int(share) if share.isdecimal() else 1))


def threads() -> int:
    """The threads of one computation: OMP_NUM_THREADS if it is set, else `cores` if they are not the whole machine.

    Otherwise 0, by which libraries choose: they count the machine's own cores better than we do.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said):
        return int(said)
    return count if (count := cores()) < (os.cpu_count() or 1) else 0


def limit_threads() -> None:
    """Make all libraries use `threads` threads that wait without spinning; to be called before torch is imported."""
    if count := threads():
        os.environ.setdefault("OMP_NUM_THREADS", str(count))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _allowed(cgroup: Path) -> int:
    """The whole cores that a container's limit of processor time amounts to, at least one; 2^16 without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # of version 2, and of version 1
        with suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
            if int(quota) > 0:
                return max(1, int(quota) // int(period))
    return 2**16
