"""Runs a .tflite file on photos inside QEMU, where no other module of the project is installed.

`guest.py MODEL INPUTS.npy OUTPUTS.npy LOW HIGH`: inputs are uint8 [n, height, width, channels],
where 0 to 255 stand for LOW to HIGH; outputs are float32 [n, height, width, 3 or 1] in the
network's own range.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def run(model: str, inputs: str, outputs: str, low: str, high: str) -> None:
    """Runs the model on every photo and writes the outputs, not clipped."""
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]
    results = []
    for pixels in np.load(inputs):
        values = pixels.astype(np.float32) / np.float32(255)
        if (float(low), float(high)) != (0, 1):
            values = values * np.float32(float(high) - float(low)) + np.float32(low)
        if source["dtype"] != np.float32:
            scale, zero = source["quantization"] if source["quantization"][0] else (1, 0)
            limits = np.iinfo(source["dtype"])
            values = np.clip(np.round(values / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(source["index"], values[None].astype(source["dtype"]))
        interpreter.invoke()
        output = interpreter.get_tensor(target["index"])[0].astype(np.float32)
        if target["dtype"] != np.float32:
            scale, zero = target["quantization"] if target["quantization"][0] else (1, 0)
            output = (output - zero) * np.float32(scale)
        results.append(output)
    np.save(outputs, np.stack(results))


if __name__ == "__main__":
    run(*sys.argv[1:])
