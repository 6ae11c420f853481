from __future__ import annotations

import pytest

from bokeh_bench.devices.arm64 import probes
from bokeh_convert.graph.cost_model import (
    CONVERT_HALF,
    DEQUANTIZE,
    QUANTIZE,
    TILE,
    Precision,
    convolution_cost,
    file_cost,
    graph_cost,
)
from bokeh_convert.graph.editor import Graph
from bokeh_runtime.shipped_models import shipped_model

# Instructions of one inference of the same networks converted at 128 x 192, on a Cortex-A76 under
# QEMU, with LiteRT 2.3.0.
MEASURED = {"demo_pynet_int8.tflite": 279.8e6, "demo_pynet_float16.tflite": 436.0e6}
QUARTER = 128 * 192 / (256 * 384)


@pytest.mark.parametrize("name", MEASURED)
def test_shipped_files_cost_what_was_counted(name: str) -> None:
    graph = Graph(shipped_model(name).read_bytes())
    cost = QUARTER * file_cost(graph, half=True)
    assert cost == pytest.approx(MEASURED[name], rel=0.1)


# Counted likewise: kernel, input channels, filters; 16 x 24 pixels.
CONVOLUTIONS = {
    (Precision.STATIC, 3, 8, 8): 76791,
    (Precision.STATIC, 3, 128, 128): 4625973,
    (Precision.STATIC, 5, 64, 16): 829911,
    (Precision.STATIC, 9, 32, 8): 1408215,
    (Precision.STATIC, 1, 32, 16): 37695,
    (Precision.HALF, 3, 8, 8): 108335,
    (Precision.HALF, 3, 128, 128): 9667695,
    (Precision.HALF, 5, 64, 16): 1717039,
    (Precision.HALF, 9, 32, 8): 2819567,
    (Precision.HALF, 9, 16, 24): 2966489,
}


@pytest.mark.parametrize("probe", CONVOLUTIONS, ids=str)
def test_convolutions_cost_what_was_counted(probe: tuple[Precision, int, int, int]) -> None:
    precision, kernel, depth, filters = probe
    pixels = 16 * 24
    cost = convolution_cost(precision, pixels, kernel, depth, filters)
    if precision == Precision.HALF:
        cost += CONVERT_HALF * pixels * (depth + filters)
    assert cost == pytest.approx(CONVOLUTIONS[probe], rel=0.1)


@pytest.mark.parametrize("precision", Precision)
def test_a_tile_costs_the_same_whether_it_is_full_or_not(precision: Precision) -> None:
    whole = TILE[precision]
    one, full, more = (
        convolution_cost(precision, 100, 3, 8, filters) for filters in (1, whole, whole + 1)
    )
    assert one == full < more


@pytest.mark.slow
def test_the_precision_of_a_file_follows_from_its_tensors() -> None:
    probe = probes.convolution(5, 16, 16, (16, 24))
    float32 = Graph(probes.made(Precision.FLOAT32, probe))
    for precision in Precision:
        half = precision == Precision.HALF
        stored = Graph(probes.made(precision, probe))
        assert file_cost(stored, half=half) == pytest.approx(graph_cost(float32, precision))
    values = 16 * 24 * 16
    quantized = Graph(probes.quantized_output(float32.to_bytes()))
    added = file_cost(quantized, half=False) - file_cost(float32, half=False)
    assert added == pytest.approx((QUANTIZE + DEQUANTIZE) * values)
