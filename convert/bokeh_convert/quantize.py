"""Quantization schemes, as data, and the one engine that applies them: litert-quantizer."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from litert_quantizer import qtyping, quantizer

from bokeh_convert.lower import SIGNATURE
from bokeh_convert.read.float_model import INPUT_NAME
from bokeh_runtime.photo import FloatImage

_Op = qtyping.TFLOperationName
_CONVOLUTIONS = (_Op.CONV_2D, _Op.CONV_2D_TRANSPOSE)
# The engine holds the photos it is given all at once; this many at a time bound the memory.
_PHOTOS_AT_ONCE = 4


@dataclass(frozen=True)
class Scheme:
    """A precision for the whole file.

    Attributes:
        name: As `--quant` takes it.
        summary: One line for the help.
        calibrated: Whether activation ranges are measured on photos.
        rules: Pairs of operators and how each is computed; later rules win. Operators that no
            rule names stay float32.
    """

    name: str
    summary: str
    calibrated: bool
    rules: tuple[tuple[tuple[Any, ...], qtyping.OpQuantizationConfig], ...]


def _weights(bits: int, kind: qtyping.TensorDataType) -> qtyping.TensorQuantizationConfig:
    integer = kind == qtyping.TensorDataType.INT
    granularity = (
        qtyping.QuantGranularity.CHANNELWISE if integer else qtyping.QuantGranularity.TENSORWISE
    )
    return qtyping.TensorQuantizationConfig(num_bits=bits, granularity=granularity, dtype=kind)


_FLOAT16 = qtyping.OpQuantizationConfig(
    weight_tensor_config=_weights(16, qtyping.TensorDataType.FLOAT),
    compute_precision=qtyping.ComputePrecision.FLOAT,
    explicit_dequantize=True,
)
_DYNAMIC = qtyping.OpQuantizationConfig(
    weight_tensor_config=_weights(8, qtyping.TensorDataType.INT),
    compute_precision=qtyping.ComputePrecision.INTEGER,
)
_STATIC = qtyping.OpQuantizationConfig(
    activation_tensor_config=qtyping.TensorQuantizationConfig(num_bits=8, symmetric=False),
    weight_tensor_config=_weights(8, qtyping.TensorDataType.INT),
    compute_precision=qtyping.ComputePrecision.INTEGER,
)

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("float32", "as trained", False, ()),
        Scheme("float16", "float16 weights", False, (((_Op.ALL_SUPPORTED,), _FLOAT16),)),
        Scheme("dynamic", "int8 weights, ranges at run time", False, ((_CONVOLUTIONS, _DYNAMIC),)),
        # Convolutions alone: with every operator that the engine knows, the demo model's picture
        # loses 2.4 dB (42.2 to 39.8; worst photo 40.1 to 36.8).
        Scheme("int8", "int8 weights and activations", True, ((_CONVOLUTIONS, _STATIC),)),
    )
}


def quantize(
    float32: bytes,
    scheme: Scheme,
    photos: Callable[[], Iterable[FloatImage]],
    *,
    threads: int,
) -> bytes:
    """Applies a scheme to a float32 flatbuffer.

    Args:
        float32: The .tflite file from `lower`.
        scheme: One of `SCHEMES`.
        photos: Gives the calibration inputs, float [height, width, channels] in [0, 1]; called
            only if the scheme is calibrated, and read as a stream.
        threads: CPU threads of the calibration.

    Returns:
        The .tflite file.
    """
    if not scheme.rules:
        return float32
    with _silent_engine():
        engine = quantizer.Quantizer(float32)
        for operators, config in scheme.rules:
            algorithm = (
                quantizer.AlgorithmName.FLOAT_CASTING
                if config is _FLOAT16
                else quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
            )
            for operator in operators:
                engine.update_quantization_recipe(".*", operator, config, algorithm)
        ranges = _calibrate(engine, photos(), threads) if scheme.calibrated else None
        result = engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _calibrate(engine: quantizer.Quantizer, photos: Iterable[FloatImage], threads: int) -> Any:
    ranges = None
    for some in _in_groups(photos, _PHOTOS_AT_ONCE):
        inputs = [{INPUT_NAME: photo[None]} for photo in some]
        ranges = engine.calibrate({SIGNATURE: inputs}, ranges, num_threads=threads)
    return ranges


def _in_groups(photos: Iterable[FloatImage], size: int) -> Iterator[list[FloatImage]]:
    stream = iter(photos)
    while group := list(islice(stream, size)):
        yield group


@contextlib.contextmanager
def _silent_engine() -> Iterator[None]:
    """Keeps the engine's progress bars and remarks from the terminal; ours are shown there."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
