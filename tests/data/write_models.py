"""Writes the .tflite files of this folder that are no conversions, and `probe.tflite`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

FOLDER = Path(__file__).parent


def write(name: str, shape: list[int], function: Callable[[tf.Tensor], tf.Tensor]) -> None:
    traced = tf.function(
        lambda image: {"result": function(image)},
        input_signature=[tf.TensorSpec(shape, tf.float32, name="image")],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    (FOLDER / name).write_bytes(converter.convert())


def with_fourier(image: tf.Tensor) -> tf.Tensor:
    """An image-to-image network with two operators that no GPU delegate has."""
    channels = tf.transpose(tf.pad(image, [[0, 0], [0, 0], [0, 8], [0, 0]]), [0, 3, 1, 2])
    energy = tf.reduce_mean(tf.abs(tf.signal.rfft2d(channels)), axis=[2, 3])
    return tf.nn.relu(image * 0.9 + 0.001 * energy[:, None, None, :])


if __name__ == "__main__":
    # What `bokeh-render --list-delegates` tries.
    probe = FOLDER.parents[1] / "runtime" / "bokeh_runtime" / "probe.tflite"
    write(str(probe), [1, 8, 8, 4], lambda image: tf.nn.relu(image + 0.5))
    write("fourier.tflite", [1, 16, 24, 3], with_fourier)
    # Depth networks in both layouts: red counts as near.
    write("depth_last.tflite", [1, 32, 48, 3], lambda image: tf.nn.relu(image[..., :1] + 3.0))
    write("depth_first.tflite", [1, 3, 32, 48], lambda image: tf.nn.relu(image[:, 0] + 3.0))
