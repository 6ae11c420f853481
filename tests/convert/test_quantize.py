from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.graph.op_inventory import (
    count_operators,
    float_operators,
    multiply_accumulates,
)
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.quantize.activation_calibration import measure_activations
from bokeh_convert.quantize.activation_statistics import ActivationStatistics
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.int16_emulation import emulate_int16
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.sources import read_model
from bokeh_runtime import InputError, TfliteModel
from bokeh_runtime.metrics.psnr import psnr
from helpers.quantization import quantized


@pytest.fixture(scope="module")
def float32(small_keras: Path) -> bytes:
    return lower(read_model(small_keras).at(32, 64))


@pytest.fixture(scope="module")
def measured(float32: bytes) -> ActivationStatistics:
    return measure_activations(float32, photos(), threads=1)


def photos(count: int = 9):
    rng = np.random.default_rng(3)
    for _ in range(count):
        yield rng.random((32, 64, 3), dtype=np.float32)


@pytest.mark.filterwarnings("ignore:Warning. Enabling .experimental_preserve_all_tensors")
def test_ranges_are_those_of_the_tensors(float32: bytes, measured: ActivationStatistics) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=float32, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    for number, photo in enumerate(photos()):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[None])
        interpreter.invoke()
        for detail in interpreter.get_tensor_details():
            if detail["name"] in measured.tensors:
                values = interpreter.get_tensor(detail["index"])
                values = values.reshape(-1, values.shape[-1] if values.ndim else 1)
                found = measured.tensors[detail["name"]]
                np.testing.assert_allclose(found.minima[number], values.min(axis=0), 1e-5, 1e-6)
                np.testing.assert_allclose(found.maxima[number], values.max(axis=0), 1e-5, 1e-6)
                assert set(found.samples[number].flat) <= set(values.flat)


def test_input_and_output_range_from_0_to_1(measured: ActivationStatistics) -> None:
    for ranges in (measured.smallest_error(), measured.min_max()):
        assert ranges[measured.input] == ranges[measured.output] == (0.0, 1.0)


def test_photos_are_streamed(float32: bytes) -> None:
    alive, most = 0, 0

    class Photo(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive, most
        for photo in photos(20):
            alive += 1
            most = max(most, alive)
            yield photo.view(Photo)

    measure_activations(float32, stream(), threads=1)
    assert most <= 3  # views of one photo


def test_no_photo_is_an_error(float32: bytes) -> None:
    with pytest.raises(ValueError, match="no photos"):
        measure_activations(float32, iter(()), threads=1)


def test_operators_of_a_file_are_counted(float32: bytes, measured: ActivationStatistics) -> None:
    counts = count_operators(float32)
    assert counts["CONV_2D"] == 2
    assert counts["TRANSPOSE_CONV"] == 1
    assert counts["SPACE_TO_DEPTH"] == 1
    assert count_operators(quantized(float32, "int16x8", photos()))["QUANTIZE"] >= 2


def test_multiplications_are_counted_by_hand(float32: bytes) -> None:
    at_half, at_full = 16 * 32, 32 * 64
    first = at_half * 8 * 9 * 12
    up = at_half * 8 * 9 * 8
    last = at_full * 3 * 9 * 8
    assert multiply_accumulates(float32) == first + up + last


@pytest.mark.parametrize(
    ("scheme", "least_db"),
    [("float16", 60), ("dynamic", 40), ("int8", 35), ("int16x8", 45), ("full-integer", 30)],
)
def test_schemes_keep_the_output(
    scheme: str, least_db: float, float32: bytes, measured: ActivationStatistics
) -> None:
    photo = next(photos())
    made = TfliteModel(quantized(float32, scheme, photos())).run(photo)
    assert psnr(made, TfliteModel(float32).run(photo), border_px=0) >= least_db


def test_a_mixed_precision_scheme_needs_a_search(float32: bytes) -> None:
    with pytest.raises(ValueError, match="needs a mixed-precision search"):
        quantize(float32, SCHEMES["int8"])


def test_full_integer_has_no_float_operator_and_takes_uint8(
    float32: bytes, measured: ActivationStatistics
) -> None:
    content = quantized(float32, "full-integer", photos())
    assert float_operators(content) == set()
    assert "LEAKY_RELU" in float_operators(quantized(float32, "int16x8", photos()))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    for detail in (interpreter.get_input_details()[0], interpreter.get_output_details()[0]):
        assert detail["dtype"] == np.uint8
        scale, zero = detail["quantization"]
        assert (scale, zero) == (pytest.approx(1 / 255), 0)
    runner = interpreter.get_signature_runner("serving_default")
    pixels = np.zeros((1, 32, 64, 3), np.uint8)
    assert runner(photo=pixels)["bokeh"].dtype == np.uint8


@pytest.mark.slow
def test_an_operator_without_integer_kernel_is_named(tmp_path: Path) -> None:
    import keras

    photo = keras.Input((32, 64, 3))
    picture = keras.layers.Conv2D(3, 1)(photo)
    keras.Model(photo, keras.ops.sin(picture)).save(tmp_path / "sine.keras")
    sine = lower(read_model(tmp_path / "sine.keras").at(32, 64))
    with pytest.raises(InputError, match=r"full-integer: no integer kernel for SIN"):
        quantized(sine, "full-integer", photos())


def test_int16_emulation_has_nearly_the_output_of_the_int16_file(
    float32: bytes, measured: ActivationStatistics
) -> None:
    content = quantized(float32, "int16x8", photos())
    photo = next(photos())
    real = TfliteModel(content).run(photo)
    emulated = TfliteModel(emulate_int16(content)).run(photo)
    to_float = psnr(real, TfliteModel(float32).run(photo), border_px=0)
    assert psnr(real, emulated, border_px=0) > to_float + 15
