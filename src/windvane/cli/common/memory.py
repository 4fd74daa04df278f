"""A bound on the memory of a command, so that too much is an error and not a killed process."""

import os
import sys
from pathlib import Path

_VARIABLE = "WINDVANE_MEMORY"
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def bound_memory() -> None:
    """Let allocations fail beyond what the machine has free now; ``WINDVANE_MEMORY=0`` leaves them alone.

    Linux grants more memory than there is and kills who uses it, without a word. Drivers of GPUs map memory
    of their own kind, so machines that have one are left alone.
    """
    if os.environ.get(_VARIABLE) == "0" or sys.platform != "linux" or Path("/dev/nvidiactl").exists():
        return
    import resource

    free = free_memory()
    if free is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = free + _held()
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    if soft == resource.RLIM_INFINITY or bound < soft:
        resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))


def free_memory() -> int | None:
    """Bytes that a process may still take: of the machine and of its control group; None if not known."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        found.append(sizes["MemAvailable"] + sizes.get("SwapFree", 0))
    except (OSError, KeyError, ValueError, IndexError):
        pass
    for most, now in _GROUPS:
        try:
            found.append(int(Path(most).read_text()) - int(Path(now).read_text()))
        except (OSError, ValueError):
            continue
    return max(min(found), 1 << 28) if found else None


def _held() -> int:
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmData")), 0)
