from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bokeh_convert import convert
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators
from bokeh_convert.graph.schema_views import Op, Operator, TensorType
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.quantize.activation_statistics import (
    ActivationStatistics,
    TensorStatistics,
    range_stability,
)
from bokeh_convert.quantize.mixed_precision_search import search_mixed_precision
from bokeh_convert.quantize.search_constraints import SearchConstraints, Trial
from bokeh_convert.quantize.static_int8 import (
    QUANTIZABLE,
    activation_quantization,
    write_static_int8,
)
from bokeh_convert.result import Conversion
from bokeh_convert.sources import read_model
from bokeh_convert.targets import targets
from bokeh_runtime import TfliteModel
from bokeh_runtime.metrics.psnr import psnr
from helpers.quantization import quantized, static_range


def convolutions(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if graph.opcode(op) in QUANTIZABLE]


def types(graph: Graph, operator: Operator) -> list[int]:
    slots = QUANTIZABLE[graph.opcode(operator)]
    used = (slots.source, slots.filters, slots.bias)
    # A convolution without a bias may have one input less.
    inputs = [operator.inputs[slot] for slot in used if slot < len(operator.inputs)]
    return [graph.tensors[tensor].type for tensor in (*inputs, operator.outputs[0])]


INT8 = [TensorType.INT8, TensorType.INT8, TensorType.INT32, TensorType.INT8]


def dilated(x: Any) -> Any:
    return keras.layers.Conv2D(8, 3, padding="same", dilation_rate=2)(x)


NETWORKS: dict[str, Callable[[Any], Any]] = {
    "plain": keras.layers.Conv2D(8, 3, padding="same"),
    "no bias": keras.layers.Conv2D(8, 3, padding="same", use_bias=False),
    "relu": keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
    "strided": keras.layers.Conv2D(8, 3, strides=2, padding="same"),
    "dilated": dilated,
    "depthwise": keras.layers.DepthwiseConv2D(3, padding="same"),
    "transposed": keras.layers.Conv2DTranspose(8, 3, strides=2, padding="same"),
    "leaky": keras.layers.LeakyReLU(negative_slope=0.2),
}


@pytest.fixture
def photos(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.random((32, 48, 3), np.float32) for _ in range(3)]


def lowered(body: Callable[[Any], Any], folder: Path) -> bytes:
    keras.utils.set_random_seed(2)
    photo = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(photo)
    x = keras.layers.Conv2D(3, 3, padding="same")(body(x))
    model = keras.Model(photo, keras.layers.Rescaling(0.2, offset=0.5)(x))
    model.save(folder / "network.keras")
    return lower(read_model(folder / "network.keras").at(32, 48))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_convolution_is_int8_and_the_image_the_same(
    name: str, photos: list[np.ndarray], tmp_path: Path
) -> None:
    float32 = lowered(NETWORKS[name], tmp_path)
    content = quantized(float32, "int8", photos)
    graph = Graph(content)
    assert [types(graph, op) for op in convolutions(graph)] == [INT8] * len(convolutions(graph))
    assert len(convolutions(graph)) == 2 + (name != "leaky")
    for operator in convolutions(graph):
        slots = QUANTIZABLE[graph.opcode(operator)]
        source, filters, bias = (
            graph.tensors[operator.inputs[slot]].quantization
            for slot in (slots.source, slots.filters, slots.bias)
        )
        channels = graph.tensors[operator.inputs[slots.filters]].shape[slots.dimension]
        assert len(filters.scale) == channels
        assert filters.quantizedDimension == slots.dimension
        expected = np.float32(source.scale[0]) * np.array(filters.scale)
        np.testing.assert_allclose(bias.scale, expected, rtol=1e-5)
    for photo in photos:
        expected = TfliteModel(float32, threads=1).run(photo)
        assert psnr(TfliteModel(content, threads=1).run(photo), expected, border_px=0) > 40
    assert [graph.tensors[tensor].type for tensor in (*graph.inputs, *graph.outputs)] == [
        TensorType.FLOAT32
    ] * 2


def test_leaky_relu_between_convolutions_is_int8(photos: list[np.ndarray], tmp_path: Path) -> None:
    graph = Graph(quantized(lowered(NETWORKS["leaky"], tmp_path), "int8", photos))
    (leaky,) = [op for op in graph.operators if graph.opcode(op) == Op.LEAKY_RELU]
    assert graph.tensors[leaky.outputs[0]].type == TensorType.INT8
    counts = count_operators(graph.to_bytes())
    assert (counts["QUANTIZE"], counts["DEQUANTIZE"]) == (1, 1)


def test_named_convolutions_stay_in_float16(photos: list[np.ndarray], tmp_path: Path) -> None:
    method = static_range(lowered(NETWORKS["plain"], tmp_path), photos)
    name = method.convolutions[1]
    graph = Graph(method.build(frozenset({name})).content)
    kinds = [types(graph, op) == INT8 for op in convolutions(graph)]
    assert kinds == [True, False, True]
    unpacked = {op.outputs[0]: op.inputs[0] for op in graph.operators
                if graph.opcode(op) == Op.DEQUANTIZE}  # fmt: skip
    weights = convolutions(graph)[1].inputs[1]
    assert graph.tensors[unpacked[weights]].type == TensorType.FLOAT16


def test_a_large_bias_on_tiny_filters_fits(photos: list[np.ndarray], tmp_path: Path) -> None:
    photo = keras.Input((32, 48, 3))
    layer = keras.layers.Conv2D(4, 3, padding="same")
    x = keras.layers.Conv2D(3, 1)(layer(photo))
    model = keras.Model(photo, x)
    kernel, bias = layer.get_weights()
    kernel[..., 0], kernel[..., 1] = 1e-12, 0
    layer.set_weights([kernel, np.full_like(bias, 0.5)])
    model.save(tmp_path / "bias.keras")
    float32 = lower(read_model(tmp_path / "bias.keras").at(32, 48))
    expected = TfliteModel(float32, threads=1).run(photos[0])
    output = TfliteModel(quantized(float32, "int8", photos), threads=1).run(photos[0])
    assert psnr(np.clip(output, 0, 1), np.clip(expected, 0, 1), border_px=0) > 35


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.5, 2.0), (-3.0, -1.0), (0.0, 0.0)])
def test_zero_is_exact(low: float, high: float) -> None:
    quantization = activation_quantization(low, high)
    ((scale,), (zero,)) = quantization.scale, quantization.zeroPoint
    assert scale > 0
    assert -128 <= zero <= 127
    for end in (min(low, 0), max(high, 0)):
        assert abs((np.clip(round(end / scale) + zero, -128, 127) - zero) * scale - end) <= scale


def test_a_graph_without_ranges_stays_as_it_is(tmp_path: Path) -> None:
    graph = Graph(lowered(NETWORKS["plain"], tmp_path))
    assert write_static_int8(graph, {}) == []
    assert "QUANTIZE" not in count_operators(graph.to_bytes())


@pytest.mark.slow
def test_the_report_names_what_is_not_int8(demo_conversions: dict[str, Conversion]) -> None:
    conversion = demo_conversions["int8"]
    graph = Graph(conversion.path.read_bytes())
    in_float = [op for op in convolutions(graph) if types(graph, op) != INT8]
    named = conversion.report.mixed_precision["float_reasons"]
    assert len(in_float) == len(named) > 0
    assert all(reason for reason in named.values())
    made = {graph.name(op.outputs[0]) for op in graph.operators}
    assert set(named) <= made
    smaller = demo_conversions["float16"].report.size_bytes
    assert conversion.report.size_bytes < smaller
    ranges = conversion.report.calibration["ranges"]
    assert 0 < ranges["halves_differ"] < 0.25
    assert not [note for note in conversion.report.notes if note.startswith("calibration")]


# ---- ranges ----


def statistics(samples: np.ndarray) -> TensorStatistics:
    """Of samples [photos, pixels, channels]."""
    return TensorStatistics(samples.min(axis=1), samples.max(axis=1), samples)


def rounding_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    quantized_values = np.rint((np.clip(values, low, high) - low) / step) * step + low
    return float(np.mean((quantized_values - values) ** 2))


def test_the_range_with_the_smallest_error_is_found(rng: np.random.Generator) -> None:
    values = rng.standard_t(3, (4, 5000, 1)).astype(np.float32)
    one = statistics(values)
    low, high = one.smallest_error()
    assert one.whole[0] < low < 0 < high < one.whole[1]
    assert rounding_error(values, low, high) < rounding_error(values, *one.whole)
    shares = np.linspace(0.3, 1, 15)
    best = min(
        rounding_error(values, one.whole[0] * a, one.whole[1] * b) for a in shares for b in shares
    )
    assert rounding_error(values, low, high) < 1.1 * best


def test_negative_values_that_count_less_are_clipped_more(rng: np.random.Generator) -> None:
    one = statistics(rng.normal(0, 1, (4, 5000, 1)).astype(np.float32))
    assert one.smallest_error(0.01)[0] > one.smallest_error()[0]


def test_a_constant_activation_has_a_range() -> None:
    assert statistics(np.zeros((2, 10, 3), np.float32)).smallest_error() == (0, 0)


def test_copies_of_the_input_keep_its_range(rng: np.random.Generator) -> None:
    one = statistics((rng.random((2, 500, 3)) * 0.2).astype(np.float32))
    found = ActivationStatistics({"photo": one, "copy": one, "x": one}, "photo", "out")
    ranges = found.with_input_copies(["copy"]).smallest_error()
    assert ranges["photo"] == ranges["copy"] == (0, 1)
    assert ranges["x"][1] < 0.21


def measured(*photos: np.ndarray) -> ActivationStatistics:
    return ActivationStatistics({"x": statistics(np.stack(photos))}, "photo", "out")


def test_too_few_and_too_uniform_photos_are_told(rng: np.random.Generator) -> None:
    photo = rng.normal(0, 1, (500, 3)).astype(np.float32)
    assert "one photo" in str(range_stability(measured(photo)).warning)
    assert "add photos" in str(range_stability(measured(photo, 3 * photo)).warning)
    assert "are alike" in str(range_stability(measured(*[photo] * 4)).warning)
    different = [photo * factor for factor in (1, 1.1, 0.8, 0.9, 1.0, 0.85, 1.1, 1.1)]
    assert range_stability(measured(*different)).warning is None


# ---- search ----


def trial(in_float: int, psnr_db: float, grain: float, cost: float) -> Trial:
    return Trial(frozenset(map(str, range(in_float))), (psnr_db,), (grain,), cost, 0)


def test_grain_counts_as_the_psnr_does() -> None:
    constraints = SearchConstraints(42, max_grain=0.8)
    assert constraints.met_by(trial(0, 50, 0.5, 0.4))
    assert not constraints.met_by(trial(0, 50, 0.79, 0.4))  # within the margin
    assert not constraints.met_by(trial(0, 42.5, 0.5, 0.4))
    assert SearchConstraints(42, max_grain=None).met_by(trial(0, 50, 9, 0.4))
    assert trial(0, 50, 0.4, 0.4).error(constraints) < trial(0, 50, 0.8, 0.4).error(constraints)


def test_start_and_end_are_tried_first_and_large_networks_end_there(
    photos: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = static_range(lowered(NETWORKS["plain"], tmp_path), photos)
    first, last = method.convolutions[0], method.convolutions[-1]
    assert list(method.first_sets()) == [frozenset(), frozenset({first, last})]
    hopeless = SearchConstraints(min_psnr_db=200)
    thorough = search_mixed_precision(method, photos, hopeless, threads=1)
    monkeypatch.setattr("bokeh_convert.quantize.mixed_precision_search._MAX_MACS", 1)
    short = search_mixed_precision(method, photos, hopeless, threads=1)
    assert len(short.trials) == 1 < len(thorough.trials)
    assert not short.constraints_met
    assert (short.ended_early, thorough.ended_early) == (True, False)


@pytest.mark.slow
@pytest.mark.parametrize(("chosen", "grouped"), [("gpu", False), ("gpu,litert-cpu", True)])
def test_a_gpu_needs_no_grouped_pixels(
    chosen: str, grouped: bool, small_keras: Path, tmp_path: Path
) -> None:
    (made,) = convert(
        small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path,
        targets=chosen.split(","),
    )  # fmt: skip
    assert ("group-pixels" in {one["name"] for one in made.report.passes}) is grouped
    assert set(targets()["gpu"].without_passes) == {"group-pixels", "merge-convolutions"}
