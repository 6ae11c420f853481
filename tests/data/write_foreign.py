"""Writes .tflite files as other people make them, into `foreign/`: no metadata of bokeh-convert.

Weights are set, not trained: each network passes its photo on through a few convolutions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

FOLDER = Path(__file__).parent / "foreign"
HEIGHT, WIDTH = 48, 72
random = np.random.default_rng(3)

Network = Callable[[tf.Tensor], tf.Tensor]


def convolution(image: tf.Tensor, filters: int, stride: int = 1, size: int = 3) -> tf.Tensor:
    """Passes the first channels on, and mixes in a little of the others."""
    channels = image.shape[3]
    kernel = random.normal(0, 0.03, (size, size, channels, filters))
    for i in range(filters):
        kernel[size // 2, size // 2, i % channels, i] += 0.9
    return tf.nn.conv2d(image, tf.constant(kernel, tf.float32), stride, "SAME")


def plain(image: tf.Tensor) -> tf.Tensor:
    return convolution(tf.nn.relu(convolution(image, 6)), image.shape[3])


def twice_as_large(image: tf.Tensor) -> tf.Tensor:
    """As ESPCN does: each pixel becomes 2 x 2."""
    spread = convolution(tf.nn.relu(convolution(image, 6)), 12)
    # Channels are ordered by place and then by colour.
    return tf.nn.depth_to_space(spread, 2)


def with_skip(image: tf.Tensor) -> tf.Tensor:
    """Half the size and back, next to the image itself: takes even sizes alone."""
    half = tf.nn.relu(convolution(image, 4, stride=2))
    size = 2 * tf.shape(half)[1:3]
    back = tf.image.resize(half, size, "nearest")
    return convolution(tf.concat([image, back], 3), 3)


def in_signed(image: tf.Tensor) -> tf.Tensor:
    return tf.tanh(1.5 * convolution(tf.nn.relu(convolution(image + 1.0, 6)), 3) - 1.2)


def in_bytes(image: tf.Tensor) -> tf.Tensor:
    return 255.0 * tf.sigmoid(8.0 * plain(image / 255.0) - 4.0)


def photo(shape: list[int], low: float, high: float) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[1], 0 : shape[2]]
    waves = [np.sin(rows / (4 + i)) * np.cos(columns / (5 + 2 * i)) for i in range(shape[3])]
    image = np.dstack(waves) / 2 + 0.5 + random.normal(0, 0.02, shape[1:])
    return (np.clip(image, 0, 1) * (high - low) + low).astype(np.float32)[None]


def converter(network: Network, shape: list[int | None]) -> tf.lite.TFLiteConverter:
    traced = tf.function(
        lambda image: {"result": network(image)},
        input_signature=[tf.TensorSpec(shape, tf.float32, name="image")],
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])


def integers(network: Network, dtype: tf.DType, low: float, high: float) -> bytes:
    shape = [1, HEIGHT, WIDTH, 3]
    made = converter(network, shape)
    made.optimizations = [tf.lite.Optimize.DEFAULT]

    def samples() -> Iterator[list[np.ndarray]]:
        for _ in range(4):
            image = photo(shape, low, high)
            image[0, 0, :2] = [[low], [high]]
            yield [image]

    made.representative_dataset = samples
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type = made.inference_output_type = dtype
    return bytes(made.convert())


def as_function(network: Network) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(lambda image: {"result": network(image)})


def three_signatures() -> bytes:
    module = tf.Module()
    spec = tf.TensorSpec([1, HEIGHT, WIDTH, 3], tf.float32, name="image")
    functions: dict[str, Network] = {
        "a_passthrough": lambda image: image,
        "brighten": lambda image: tf.sqrt(tf.nn.relu(plain(image))),
        "enhance": plain,
    }
    signatures = {}
    for name, function in functions.items():
        traced = as_function(function)
        signatures[name] = traced.get_concrete_function(spec)
        setattr(module, name, traced)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        made = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))
        return bytes(made.convert())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    fixed = [1, HEIGHT, WIDTH, 3]
    contents = {
        "open_x2": converter(twice_as_large, [1, None, None, 3]).convert(),
        "open_skip": converter(with_skip, [1, None, None, 3]).convert(),
        "three_signatures": three_signatures(),
        "uint8_bytes": integers(in_bytes, tf.uint8, 0, 255),
        "int8_signed": integers(in_signed, tf.int8, -1, 1),
        "float_bytes": converter(in_bytes, fixed).convert(),
        "luminance": converter(plain, [*fixed[:3], 1]).convert(),
    }
    for name, content in contents.items():
        (FOLDER / f"{name}.tflite").write_bytes(content)
