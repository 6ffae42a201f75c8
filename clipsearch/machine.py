"""What this machine is: how many cores, which processor."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

# Device files of the drivers that torch computes through: NVIDIA's, AMD's, Windows' within Linux.
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def usable_cores() -> int:
    """Cores this process may use: no more than OMP_NUM_THREADS, by which schedulers share machines out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(said)) if said.isdecimal() and int(said) else cores


def cpu_name() -> str:
    """The processor as its maker calls it, with family and model where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    # Virtual machines often leave the name short.
    return f"{facts['model name']} (family {facts.get('cpu family')}, model {facts.get('model')})"


def may_have_gpu() -> bool:
    """Whether torch might find a GPU. It alone knows, but asking it takes seconds of import."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").exists()
    return any(map(os.path.exists, _GPU_FILES))
