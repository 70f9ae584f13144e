"""How many threads compute, and how they wait: the one place that says so, for every command and server.

Threads of OpenMP and of ONNX Runtime that are done spin while they wait for the others. Where another process has one
of the cores, they spin on the core that the last one needs, and all are slow together.
What a user has set, such as OMP_NUM_THREADS, is never changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that this process may use: all, or those it is pinned to, or what its container is allowed.

    Its share of them, where torchrun or accelerate started several processes on this machine.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, min(count, _allowed(CGROUP)) // max(1, int(share) if share.isdecimal() else 1))


def threads() -> int:
    """The threads of one computation: what OMP_NUM_THREADS says, or `cores` where they are not all of the machine's.

    0 where both leave it open: libraries count the machine's own cores better than we do.
    """
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdecimal() and int(said):
        return int(said)
    return count if (count := cores()) < (os.cpu_count() or 1) else 0


def limit_threads() -> None:
    """Set `threads` for all libraries, and that they wait without spinning: before torch is imported."""
    if count := threads():
        os.environ.setdefault("OMP_NUM_THREADS", str(count))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _allowed(cgroup: Path) -> int:
    """The whole cores that a container's limit of processor time comes to, at least one; very many without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # of version 2, and of version 1
        with suppress(OSError, ValueError):
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
            if int(quota) > 0:
                return max(1, int(quota) // int(period))
    return 2**16
