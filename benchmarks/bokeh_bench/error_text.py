"""The text of a row's error, which names the options of `bokeh-bench` in place of arguments."""

from __future__ import annotations

from bokeh_runtime.errors import HardwareError, InputError

OPTIONS = {
    "allow_partial": "--allow-partial",
    "delegate": "--delegate",
    "delegate_library": "--delegate-library",
    "input_range": "--input-range",
    "interpreter": "--interpreter",
    "output_range": "--output-range",
    "signature": "--signature",
    "size": "--size",
    "threads": "--threads",
}
"""The command's options by the arguments of `bokeh_runtime.backends.delegates.EngineOptions`."""


def error_text(error: InputError | HardwareError) -> str:
    """Returns the message of an error with the command's options, such as `--delegate cpu`."""
    return error.in_options(OPTIONS)
