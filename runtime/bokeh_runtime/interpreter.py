"""Runs a .tflite model on the CPU (XNNPACK)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from bokeh_runtime.photo import FloatImage


class TfliteModel:
    """An image-to-image model in an interpreter. Not thread-safe: use one for each thread.

    Args:
        content: The bytes of the .tflite file.
        threads: CPU threads; None takes all cores.
    """

    def __init__(self, content: bytes, *, threads: int | None = None) -> None:
        self._interpreter = Interpreter(
            model_content=content, num_threads=threads or os.cpu_count() or 1
        )
        self._interpreter.allocate_tensors()
        self._input: dict[str, Any] = self._interpreter.get_input_details()[0]
        self._output: dict[str, Any] = self._interpreter.get_output_details()[0]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height and width in pixels, and channels."""
        _, height, width, channels = (int(n) for n in self._input["shape"])
        return height, width, channels

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output for one picture, not clipped.

        Args:
            image: float [height, width, channels] of `input_shape`, in [0, 1].

        Returns:
            float [output height, output width, 3], in about [0, 1]; integer inputs and outputs
            are scaled by their quantization parameters.
        """
        self._interpreter.set_tensor(self._input["index"], _quantized(image, self._input)[None])
        self._interpreter.invoke()
        return _real(self._interpreter.get_tensor(self._output["index"])[0], self._output)


def _quantized(image: FloatImage, tensor: dict[str, Any]) -> Any:
    if tensor["dtype"] == np.float32:
        return image
    scale, zero = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    levels = np.round(image / scale) + zero
    return np.clip(levels, limits.min, limits.max).astype(tensor["dtype"])


def _real(values: Any, tensor: dict[str, Any]) -> FloatImage:
    if tensor["dtype"] == np.float32:
        return np.array(values)
    scale, zero = tensor["quantization"]
    return np.asarray((values.astype(np.float32) - zero) * scale, np.float32)
