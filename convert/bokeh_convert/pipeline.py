"""The order of a conversion: read, lower, rewrite, quantize, verify, judge, compile, write.

Each stage is a module of `bokeh_convert.stages`. The first three stages and the calibration run
once. Then each file is quantized, verified, judged and completed, and compiled for NPUs on request.
All files are written together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bokeh_convert.options import ConvertOptions
from bokeh_convert.progress import Progress, Steps
from bokeh_convert.result import Conversion
from bokeh_convert.sources.tracing import cause_of
from bokeh_convert.stages.calibrate import calibrate
from bokeh_convert.stages.compile import compile_for_npus
from bokeh_convert.stages.complete import complete_file
from bokeh_convert.stages.judge import judge_file
from bokeh_convert.stages.lower import lower_source
from bokeh_convert.stages.quantize import quantize_file
from bokeh_convert.stages.read import read_source
from bokeh_convert.stages.rewrite import rewrite_graph
from bokeh_convert.stages.verify import verify_file
from bokeh_convert.stages.write import write_files
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError, UserError


@contextmanager
def _explained(source: Path, steps: Steps) -> Iterator[None]:
    """Turns whatever a library raises on a model into one line that says at which step."""
    try:
        yield
    except UserError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{source}: {steps.description} needs more memory than there is; convert fewer "
            "schemes at once, or close other programs"
        ) from error
    except Exception as error:  # the libraries raise anything on a graph that they do not expect
        raise InputError(
            f"{source}: {steps.description} failed ({type(error).__name__}: {cause_of(error)})"
        ) from error


def run(options: ConvertOptions, progress: Progress) -> list[Conversion]:
    """Converts a model with each scheme in `options.schemes`, in that order.

    Raises:
        InputError: If the model, the photos or the output folder cannot be used, or a library fails
            on the model; its own error is the cause then.
        HardwareError: If an NPU's compiler or emulator is missing or fails.
    """
    steps = Steps(progress)
    with _explained(options.source, steps), AtomicOutput(options.output_dir) as staging:
        source = read_source(options, steps)
        steps.next("converting to float32 TFLite")
        with steps.timed("lower_s"):
            rewritten = rewrite_graph(lower_source(source), options)
        steps.next()
        calibrated = calibrate(rewritten, options, steps)
        files = []
        for scheme in options.schemes:
            quantized = quantize_file(scheme, calibrated, options, steps)
            verified = verify_file(quantized, source, options, steps)
            completed = complete_file(judge_file(verified, options), source)
            files.append(compile_for_npus(completed, source, options, steps))
        return write_files(files, calibrated, options, staging, steps)
