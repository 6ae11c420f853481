from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from bokeh_convert.graph.cost_model import Precision
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import count_operators, read_operators
from bokeh_convert.graph.schema_views import Op
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes.merge_convolutions import merge_convolutions
from bokeh_convert.quantize.mixed_precision_files import DynamicRange
from bokeh_convert.quantize.mixed_precision_search import search_mixed_precision
from bokeh_convert.quantize.search_constraints import SearchConstraints
from bokeh_convert.sources import read_model
from bokeh_runtime import TfliteModel

Layer = dict[str, object]


def lowered(folder: Path, *branches: Layer) -> bytes:
    """Convolutions side by side, each followed by a leaky ReLU, joined."""
    keras.utils.set_random_seed(2)
    photo = keras.Input((None, None, 3), name="photo")
    x = keras.layers.Conv2D(32, 3, padding="same")(photo)
    made = []
    for branch in branches:
        layer = keras.layers.Conv2D(**{"padding": "same", "bias_initializer": "normal", **branch})
        made.append(keras.layers.LeakyReLU(negative_slope=0.2)(layer(x)))
    x = keras.layers.Concatenate()(made) if len(made) > 1 else made[0]
    x = keras.layers.Conv2D(3, 1)(x)
    keras.Model(photo, keras.layers.Rescaling(0.1, offset=0.5)(x)).save(folder / "branches.keras")
    return lower(read_model(folder / "branches.keras").at(32, 64))


def merged(content: bytes, precision: Precision = Precision.DYNAMIC) -> tuple[bytes, int]:
    graph = Graph(content)
    gone = merge_convolutions(graph, precision)
    return graph.to_bytes(), gone


def branches(*kernels: int, filters: int = 8) -> list[Layer]:
    return [{"filters": filters, "kernel_size": kernel} for kernel in kernels]


def test_four_branches_become_two_and_draw_the_same(tmp_path: Path, rng) -> None:
    before = lowered(tmp_path, *branches(3, 5, 7, 9))
    after, gone = merged(before)
    assert gone == 2
    graph = Graph(after)
    shapes = [
        tuple(graph.tensors[op.inputs[1]].shape)
        for op in graph.operators
        if graph.opcode(op) == Op.CONV_2D
    ]
    assert (16, 5, 5, 32) in shapes
    assert (16, 9, 9, 32) in shapes
    photo = rng.random((32, 64, 3), dtype=np.float32)
    expected = TfliteModel(before, threads=1).run(photo)
    np.testing.assert_allclose(TfliteModel(after, threads=1).run(photo), expected, atol=1e-6)


def test_the_axis_of_a_split_is_a_scalar(tmp_path: Path) -> None:
    after, _ = merged(lowered(tmp_path, *branches(3, 5, 7, 9)))
    graph = Graph(after)
    axes = {op.inputs[0] for op in graph.operators if graph.opcode(op) == Op.SPLIT}
    (axis,) = axes  # two splits share it
    assert list(graph.tensors[axis].shape) == []
    assert graph.constant(axis) == 3
    assert not any(operator.list_for_scalar for operator in read_operators(after))


@pytest.mark.slow
@pytest.mark.parametrize("filters", [16, 32])
def test_full_tiles_are_not_merged(filters: int, tmp_path: Path) -> None:
    before = lowered(tmp_path, *branches(3, 9, filters=filters))
    after, gone = merged(before)
    assert gone == 0
    assert count_operators(after) == count_operators(before)


@pytest.mark.slow
def test_float_kernels_have_nothing_to_gain(tmp_path: Path) -> None:
    assert merged(lowered(tmp_path, *branches(3, 5, 7, 9)), Precision.FLOAT32)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"filters": 8, "kernel_size": 4},
        {"filters": 4, "kernel_size": 5},
        {"filters": 8, "kernel_size": (3, 5)},
        {"filters": 8, "kernel_size": 3, "dilation_rate": 2},
        {"filters": 8, "kernel_size": 5, "activation": "relu"},
    ],
)
def test_what_does_not_fit_is_left_alone(other: Layer, tmp_path: Path) -> None:
    before = lowered(tmp_path, {"filters": 8, "kernel_size": 5}, other)
    assert merged(before)[1] == 0


def test_grouped_convolutions_are_left_alone(tmp_path: Path) -> None:
    grouped = {"filters": 8, "kernel_size": 5, "groups": 4}
    assert merged(lowered(tmp_path, grouped, grouped))[1] == 0


def test_nothing_of_the_old_filters_stays_in_the_file(tmp_path: Path) -> None:
    before = lowered(tmp_path, *branches(7, 9))
    after, gone = merged(before)
    assert gone == 1
    added = 4 * 8 * 32 * (9 * 9 - 7 * 7)  # float32 zeros around the smaller kernel
    assert len(after) < len(before) + added + 2000


def test_without_the_pass_the_same_plan_costs_more(tmp_path: Path, rng) -> None:
    content = lowered(tmp_path, *branches(3, 5, 7, 9))
    photos = [rng.random((32, 64, 3), dtype=np.float32)]
    limits = SearchConstraints(0)
    with_it, without = (
        search_mixed_precision(DynamicRange(content, skip), photos, limits, threads=1).chosen
        for skip in (["group-pixels"], ["group-pixels", "merge-convolutions"])
    )
    assert with_it.cost_ratio < 0.8 * without.cost_ratio
    assert with_it.psnr_db_mean == pytest.approx(without.psnr_db_mean, abs=3)
