from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bokeh_convert import convert
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.fake_quantization import remove_fake_quantization
from bokeh_convert.sources import read_model
from bokeh_runtime import TfliteModel
from bokeh_runtime.metrics.psnr import psnr

SIZE = (32, 48)


class Trained(tf.Module):  # type: ignore[misc]
    """Two convolutions as other libraries train them for int8: weights and activations rounded."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(11)
        self.first = tf.Variable(rng.normal(0, 0.2, (3, 3, 3, 8)).astype(np.float32))
        self.second = tf.Variable(rng.normal(0, 0.2, (3, 3, 8, 3)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([1, *SIZE, 3], tf.float32)])
    def __call__(self, photo: tf.Tensor) -> tf.Tensor:
        x = tf.quantization.fake_quant_with_min_max_vars(photo, 0.0, 1.0)
        x = tf.nn.leaky_relu(tf.nn.conv2d(x, rounded(self.first), 1, "SAME"), 0.2)
        x = tf.quantization.fake_quant_with_min_max_vars(x, -1.0, 4.0)
        return photo + 0.1 * tf.tanh(tf.nn.conv2d(x, rounded(self.second), 1, "SAME"))


def rounded(kernel: tf.Variable) -> tf.Tensor:
    largest = tf.reduce_max(tf.abs(kernel), axis=(0, 1, 2))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -largest, largest, narrow_range=True
    )


def test_ranges_of_a_saved_model_are_kept_and_its_rounding_is_not(tmp_path: Path, rng) -> None:
    module = Trained()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    sized = read_model(tmp_path / "saved").at(*SIZE)
    graph = Graph(lower(sized))
    before = count_operators(graph.to_bytes())
    assert before["QUANTIZE"] == 4, "two activations and two weights"
    photo = rng.random((*SIZE, 3), np.float32)
    ranges = remove_fake_quantization(graph, clip=False)
    assert {"QUANTIZE", "DEQUANTIZE"}.isdisjoint(count_operators(graph.to_bytes()))
    (first, second) = sorted(ranges.values(), reverse=True)
    np.testing.assert_allclose(first, (0, 1), atol=1e-6)
    # 0 has to be one of the levels, which shifts the range by less than one.
    np.testing.assert_allclose(second, (-1, 4), atol=5 / 255)
    assert graph.name(graph.inputs[0]) in ranges
    file = TfliteModel(graph.to_bytes(), threads=1).run(photo)
    # The converter writes the weights as they were rounded.
    assert psnr(file, sized.run(photo), border_px=0) > 50
    rounding = np.asarray(module(photo[np.newaxis])[0])
    assert 40 < psnr(file, rounding, border_px=0) < 70


class Clipping(Trained):
    """Ranges that much of the image is outside of, of activations and of weights."""

    def draw(self, photo: tf.Tensor, quantize: Callable[..., tf.Tensor]) -> tf.Tensor:
        last = rounded(self.second) if quantize is not clip else self.second
        x = quantize(photo, 0.0, 0.8)
        kernel = quantize(self.first, -0.1, 0.2)
        x = quantize(tf.nn.conv2d(x, kernel, 1, "SAME"), -0.3, 0.5)
        again = tf.nn.relu(x) + 0.1 * quantize(x, -0.3, 0.5)
        return 0.5 + 0.3 * tf.nn.conv2d(again, last, 1, "SAME")

    @tf.function(input_signature=[tf.TensorSpec([1, *SIZE, 3], tf.float32)])
    def __call__(self, photo: tf.Tensor) -> tf.Tensor:
        return tf.function(self.draw)(photo, tf.quantization.fake_quant_with_min_max_vars)


def clip(values: tf.Tensor, low: float, high: float) -> tf.Tensor:
    step = (high - low) / 255
    shift = -low / step - round(-low / step)  # 0 is one of the levels
    return tf.clip_by_value(values, low + shift * step, high + shift * step)


def test_what_is_outside_of_a_range_is_clipped_in_every_file(tmp_path: Path, rng) -> None:
    module = Clipping()
    tf.saved_model.save(module, str(tmp_path / "saved"))
    # The call of a function hides its operators.
    sized = read_model(tmp_path / "saved").at(*SIZE)
    photo = rng.random((*SIZE, 3), np.float32)
    exact = np.asarray(module.draw(photo[np.newaxis], clip)[0])
    assert psnr(sized.run(photo), exact, border_px=0) > 100
    ranges = {"input_range": "0..1", "output_range": "0..1"}
    for made in convert(
        tmp_path / "saved", quant=("float32", "float16", "dynamic", "int8", "int16x8"), size=SIZE,
        output_dir=tmp_path, **ranges,
    ):  # fmt: skip
        found = TfliteModel(made.path.read_bytes(), threads=1).run(photo)
        measured = psnr(found, exact, border_px=0)
        # The converter writes the weights as they were rounded.
        assert measured > (40 if made.report.scheme in ("dynamic", "int8") else 50)
        # The report says the same of other photos.
        assert made.report.fidelity["psnr_db_mean"] == pytest.approx(measured, abs=8)


def test_a_graph_without_it_stays_as_it_is(data: Path) -> None:
    for name in ("small_float32.tflite", "small_full-integer.tflite"):
        graph = Graph((data / name).read_bytes())
        before = graph.to_bytes()
        assert remove_fake_quantization(graph, clip=True) == {}
        assert graph.to_bytes() == before


class BesideAPlane(tf.Module):  # type: ignore[misc]
    """A rounded photo beside a plane of a constant, which is rounded in the photo's range."""

    def __init__(self, plane: float) -> None:
        super().__init__()
        self.plane = np.full((1, *SIZE, 1), plane, np.float32)

    @tf.function(input_signature=[tf.TensorSpec([1, *SIZE, 3], tf.float32)])
    def __call__(self, photo: tf.Tensor) -> tf.Tensor:
        x = tf.quantization.fake_quant_with_min_max_vars(photo, 0.0, 1.0)
        x = tf.quantization.fake_quant_with_min_max_vars(
            tf.concat([x, self.plane], axis=3), 0.0, 1.0
        )
        return x[..., :3] * x[..., 3:]


@pytest.mark.parametrize("plane", [0.5, 2.0])
def test_a_constant_beside_a_rounded_tensor_is_clipped(plane: float, tmp_path: Path, rng) -> None:
    module = BesideAPlane(plane)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    graph = Graph(lower(read_model(tmp_path / "saved").at(*SIZE)))
    remove_fake_quantization(graph, clip=True)
    photo = rng.random((*SIZE, 3), np.float32)
    found = TfliteModel(graph.to_bytes(), threads=1).run(photo)
    np.testing.assert_allclose(found, np.asarray(module(photo[np.newaxis])[0]), atol=0.01)
    clips = count_operators(graph.to_bytes())["MINIMUM"]
    assert clips == (1 if plane == 0.5 else 2), "only where the constant needs it"
