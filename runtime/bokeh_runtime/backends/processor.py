"""The processor's name, from where each system keeps it."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

_REGISTRY_KEY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_SECONDS = 10.0


def cpu_name() -> str:
    """Returns the processor's name, as its system gives it."""
    if sys.platform == "darwin":
        found = _from_sysctl()
    elif sys.platform == "win32":
        found = _from_registry()
    else:
        found = _from_cpuinfo()
    return found or platform.processor() or platform.machine()


def _from_cpuinfo() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith(("model name", "Hardware")):
            return line.partition(":")[2].strip()
    return ""


def _from_sysctl() -> str:
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _from_registry() -> str:
    import importlib

    # By name, since type checkers know this module on Windows alone.
    winreg = importlib.import_module("winreg")
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTRY_KEY) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    except OSError:
        return ""
