"""Runs a model on the GPU alone, in a process of its own.

`python -m bokeh_bench.workers.gpu FILE INPUTS OUTPUTS`; `bokeh_bench.studies.gpu` calls it.

INPUTS and OUTPUTS are .npy files: uint8 [n, height, width, channels] that stand for 0 to 1, and
float32 [n, height, width, 3], not clipped. Prints the device's name as JSON, or why there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bokeh_runtime.backends.accelerator import AcceleratedModel
from bokeh_runtime.errors import HardwareError
from bokeh_runtime.imaging.photo import to_unit
from bokeh_runtime.tflite.file import read_tflite


def run(model: Path, inputs: Path, outputs: Path) -> str:
    """Writes the outputs, and returns the device's name.

    Raises:
        HardwareError: If there is no GPU, or it does not run the whole model.
    """
    accelerated = AcceleratedModel(read_tflite(model), "gpu")
    np.save(outputs, np.stack([accelerated.run(to_unit(one)) for one in np.load(inputs)]))
    name = accelerated.device.name
    accelerated.close()
    return name


def main() -> None:
    """Does what the arguments say."""
    try:
        answer = {"device": run(*map(Path, sys.argv[1:]))}
    except HardwareError as error:
        answer = {"fault": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
