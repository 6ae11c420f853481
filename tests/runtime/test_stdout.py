from __future__ import annotations

import os
import subprocess
import sys


def test_what_the_encoding_cannot_hold_is_escaped() -> None:
    """As on Windows, where a redirected standard output has the code page of the system."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from bokeh_runtime.stdout import print_on_stdout; print_on_stdout('\u6a21 \u00e4')",
        ],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert done.stdout.split() == [b"\\u6a21", b"\xe4"]
