from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from bokeh_convert import convert
from bokeh_convert.graph.cost_model import Precision, graph_cost
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.schema_views import Op, conv_2d_options
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.group_pixels import group_pixels
from bokeh_convert.sources import read_model
from bokeh_runtime import TfliteModel


def lowered(folder: Path, layer: dict[str, object], size: tuple[int, int] = (32, 64)) -> bytes:
    """A convolution with a leaky ReLU, before and after which there are others."""
    keras.utils.set_random_seed(2)
    photo = keras.Input((None, None, 3), name="photo")
    x = keras.layers.Conv2D(32, 3, padding="same")(photo)
    options = {"padding": "same", "bias_initializer": "normal", **layer}
    x = keras.layers.LeakyReLU(negative_slope=0.2)(keras.layers.Conv2D(**options)(x))
    x = keras.layers.Conv2D(16, 1)(x)
    keras.Model(photo, keras.layers.Rescaling(0.1, offset=0.5)(x[..., :3])).save(
        folder / "one.keras"
    )
    return lower(read_model(folder / "one.keras").at(*size))


def grouped(content: bytes, precision: Precision = Precision.HALF) -> tuple[bytes, int]:
    graph = Graph(content)
    count = group_pixels(graph, precision)
    return graph.to_bytes(), count


@pytest.mark.parametrize(
    ("filters", "kernel", "width", "pixels"),
    [(8, 9, 64, 2), (8, 3, 64, 2), (3, 5, 60, 5), (4, 7, 64, 4)],
)
def test_the_output_stays_the_same(
    filters: int, kernel: int, width: int, pixels: int, tmp_path: Path, rng
) -> None:
    before = lowered(tmp_path, {"filters": filters, "kernel_size": kernel}, (32, width))
    after, count = grouped(before)
    assert count == 1
    graph = Graph(after)
    (strides,) = (
        conv_2d_options(op).strideW
        for op in graph.operators
        if graph.opcode(op) == Op.CONV_2D and conv_2d_options(op).strideW > 1
    )
    assert strides == pixels
    photo = rng.random((32, width, 3), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-6)
    half = Precision.HALF
    assert graph_cost(graph, half) < graph_cost(Graph(before), half)


@pytest.mark.parametrize(
    "layer",
    [
        {"filters": 16, "kernel_size": 5},
        {"filters": 32, "kernel_size": 9},
        {"filters": 8, "kernel_size": 4},
        {"filters": 8, "kernel_size": 5, "groups": 4},
        {"filters": 8, "kernel_size": 5, "activation": "relu"},
        {"filters": 8, "kernel_size": 3, "dilation_rate": 2},
        {"filters": 8, "kernel_size": 3, "strides": 2},
    ],
)
def test_what_does_not_fit_or_pay_is_left_alone(layer: dict[str, object], tmp_path: Path) -> None:
    before = lowered(tmp_path, layer)
    after, count = grouped(before)
    assert count == 0
    assert count_operators(after) == count_operators(before)


def test_a_width_that_cannot_be_divided_is_left_alone(tmp_path: Path) -> None:
    assert grouped(lowered(tmp_path, {"filters": 8, "kernel_size": 5}, (32, 61)))[1] == 0


def test_float32_kernels_compute_8_channels_at_once(tmp_path: Path) -> None:
    before = lowered(tmp_path, {"filters": 8, "kernel_size": 9})
    assert grouped(before, Precision.FLOAT32)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("skip", [(), ("group-pixels",)])
def test_a_float16_file_for_float16_arithmetic_is_grouped(
    skip: tuple[str, ...], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(2)
    photo = keras.Input((64, 96, 3))
    x = keras.layers.Conv2D(8, 5, padding="same")(photo)
    x = keras.layers.Conv2D(3, 1, activation="sigmoid")(keras.layers.LeakyReLU()(x))
    keras.Model(photo, x).save(tmp_path / "one.keras")
    (made,) = convert(
        tmp_path / "one.keras", quant=["float16"], output_dir=tmp_path, skip_passes=skip
    )
    counts = {each["name"]: each["count"] for each in made.report.passes}
    assert made.report.fp16_arithmetic["allowed"]
    assert counts.get("group-pixels") == (None if skip else 1)
    strides = [
        conv_2d_options(op).strideW
        for op in Graph(made.path.read_bytes()).operators
        if op.builtinOptions is not None and hasattr(op.builtinOptions, "strideW")
    ]
    assert strides == ([1, 1] if skip else [2, 1])
