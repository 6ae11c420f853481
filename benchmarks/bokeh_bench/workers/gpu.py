"""Runs a model on the GPU only, in a process of its own.

`python -m bokeh_bench.workers.gpu FILE INPUTS OUTPUTS`; `bokeh_bench.studies.gpu` calls it.

INPUTS and OUTPUTS are .npy files. Inputs are uint8 [n, height, width, channels], where 0 to 255
stand for 0 to 1; outputs are float32 [n, height, width, 3], not clipped. Prints JSON with the
device's name, or with the error.
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
    """Writes the outputs and returns the device's name.

    Raises:
        HardwareError: If there is no GPU, or it does not run the whole model.
    """
    accelerated = AcceleratedModel(read_tflite(model), "gpu")
    np.save(outputs, np.stack([accelerated.run(to_unit(one)) for one in np.load(inputs)]))
    name = accelerated.device.name
    accelerated.close()
    return name


def main() -> None:
    """Runs the model that the arguments name."""
    try:
        answer = {"device": run(*map(Path, sys.argv[1:]))}
    except HardwareError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
