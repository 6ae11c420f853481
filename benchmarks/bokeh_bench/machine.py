"""Properties of this machine. A property that the system does not report is None."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bokeh_bench.code_digest import code_digests
from bokeh_runtime.backends.processor import cpu_name

_TOOLS = ("bokeh-tflite", "ai-edge-litert", "tflite-runtime", "tensorflow", "numpy")
_CPU = Path("/sys/devices/system/cpu")
_THERMAL = Path("/sys/class/thermal")


def environment() -> dict[str, Any]:
    """Returns the machine, the tools' versions and the code's hashes, as JSON data."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "governor": governor(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "tools": _versions(),
        "code": code_digests(),
    }


def governor() -> str | None:
    """Returns the frequency governors of the CPU cores, without duplicates."""
    found = {_read(path) for path in _CPU.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    return ", ".join(sorted(name for name in found if name)) or None


def temperature_c() -> float | None:
    """Returns the temperature of the hottest thermal zone, in degrees Celsius."""
    found = [_read(path) for path in _THERMAL.glob("thermal_zone*/temp")]
    degrees = [int(text) / 1000 for text in found if text and text.lstrip("-").isdigit()]
    return max(degrees, default=None)


def peak_rss_bytes() -> int:
    """Returns the most memory that this process had.

    Linux's `ru_maxrss` remembers the parent's size across `exec`; its `VmHWM` does not.
    """
    for line in (_read(Path("/proc/self/status")) or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows, where psutil is a dependency
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _versions() -> dict[str, str]:
    versions = {}
    for tool in _TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return versions


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
