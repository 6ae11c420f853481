"""Tells whether this system has NNAPI."""

from __future__ import annotations

import shutil
import subprocess
import sys

from bokeh_runtime.contract.constants import LAST_ANDROID_WITH_NNAPI
from bokeh_runtime.errors import Argument, HardwareError

_GETPROP_SECONDS = 10


def nnapi_unavailable() -> HardwareError:
    """Returns why NNAPI cannot be used, and what to do instead."""
    level = android_level()
    if level is None:
        return HardwareError(
            "nnapi: only available on Android",
            remedy=("use ", Argument("delegate", "cpu"), " or ", Argument("delegate", "gpu")),
        )
    if level > LAST_ANDROID_WITH_NNAPI:
        return HardwareError(
            "nnapi: deprecated since Android 15",
            remedy=("use ", Argument("delegate", "gpu"), " or ", Argument("delegate", "npu")),
        )
    return HardwareError(
        "nnapi: Python needs a delegate library for it",
        remedy=("give one with ", Argument("delegate_library")),
    )


def android_level() -> int | None:
    """Returns the API level of Android; None on other systems."""
    if sys.platform != "android" and not hasattr(sys, "getandroidapilevel"):
        return None
    command = shutil.which("getprop")
    if command is None:
        return None
    try:
        result = subprocess.run(
            [command, "ro.build.version.sdk"],
            capture_output=True,
            text=True,
            check=False,
            timeout=_GETPROP_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return int(result.stdout) if result.stdout.strip().isdigit() else None
