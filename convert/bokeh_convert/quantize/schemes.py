"""Quantization schemes, as data, and the one engine that applies them: litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from litert_quantizer import qtyping, quantizer

from bokeh_convert.process_state import without_absl_messages, without_warnings
from bokeh_convert.quantize.activation_calibration import ActivationRanges
from bokeh_convert.quantize.full_integer import make_full_integer
from bokeh_convert.quantize.int16_emulation import rehearse_int16

_Op = qtyping.TFLOperationName
_CONVOLUTIONS = (_Op.CONV_2D, _Op.CONV_2D_TRANSPOSE)
_EVERY = (_Op.ALL_SUPPORTED,)

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Scheme:
    """A precision for the whole file.

    Attributes:
        name: As `--quant` takes it.
        summary: One line for the help.
        rules: Pairs of operators and how each is computed; later rules win. Operators that no
            rule names stay float32.
        planned: Whether `bokeh_convert.quantize.mixed_precision_search` finds out by drawing what
            is computed how.
        ranges: Which range of each activation to use; None if the scheme needs none. Such schemes
            take the graph as it was lowered: written for half precision, instance norm loses more
            to 8 bits (full-integer, a quarter-width PyNET: 38.6 dB instead of 41.9).
        finish: What is done to the file after the engine.
        rehearse: Makes a file that draws the same faster, to verify a large model with.
    """

    name: str
    summary: str
    rules: tuple[tuple[tuple[Any, ...], qtyping.OpQuantizationConfig], ...]
    planned: bool = False
    ranges: Callable[[ActivationRanges], Ranges] | None = None
    finish: Callable[[bytes], bytes] | None = None
    rehearse: Callable[[bytes], bytes] | None = None

    @property
    def calibrated(self) -> bool:
        """Whether activation ranges must be measured on photos."""
        return self.ranges is not None


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


def _static(bits: int, *, symmetric: bool) -> qtyping.OpQuantizationConfig:
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(bits, symmetric=symmetric),
        weight_tensor_config=_weights(8, qtyping.TensorDataType.INT),
        compute_precision=qtyping.ComputePrecision.INTEGER,
    )


_INT8 = _static(8, symmetric=False)
_INT16 = _static(16, symmetric=True)

SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("float32", "as trained", ()),
        Scheme("float16", "float16 weights", ((_EVERY, _FLOAT16),)),
        Scheme("dynamic", "int8 weights, ranges at run time", (((_Op.CONV_2D,), _DYNAMIC),)),
        Scheme("int8", "int8 convolutions where the picture allows", (), planned=True),
        # 16 bits have room for every extreme.
        Scheme(
            "int16x8",
            "int8 weights, int16 activations of convolutions; slow on CPUs",
            ((_CONVOLUTIONS, _INT16),),
            ranges=ActivationRanges.whole,
            rehearse=rehearse_int16,
        ),
        Scheme(
            "full-integer",
            "int8 throughout, uint8 in and out",
            ((_EVERY, _INT8),),
            ranges=ActivationRanges.typical,
            finish=make_full_integer,
        ),
    )
}


def quantize(float32: bytes, scheme: Scheme, measured: ActivationRanges | None = None) -> bytes:
    """Applies a scheme to a float32 flatbuffer.

    Args:
        float32: The .tflite file from `lower`.
        scheme: One of `SCHEMES` that is not planned.
        measured: Ranges of the activations; needed if the scheme is calibrated.

    Returns:
        The .tflite file.

    Raises:
        InputError: If an operator of the model has no integer form and the scheme is full-integer.
    """
    if scheme.planned:
        raise ValueError(f"{scheme.name} needs a plan")
    if not scheme.rules:
        return float32
    ranges = None
    if scheme.ranges is not None:
        if measured is None:
            raise ValueError(f"{scheme.name} needs measured ranges")
        ranges = {name: _engine_range(*ends) for name, ends in scheme.ranges(measured).items()}
    with without_warnings(), without_absl_messages():
        engine = quantizer.Quantizer(float32)
        for operators, config in scheme.rules:
            algorithm = (
                quantizer.AlgorithmName.FLOAT_CASTING
                if config is _FLOAT16
                else quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
            )
            for operator in operators:
                engine.update_quantization_recipe(".*", operator, config, algorithm)
        result = engine.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    content = bytes(result.quantized_model)
    return scheme.finish(content) if scheme.finish else content


def quantize_convolutions(float32: bytes, in_float: Collection[str]) -> bytes:
    """Gives convolutions int8 weights, and inputs that are rounded to int8 at run time.

    Args:
        float32: The .tflite file.
        in_float: Convolutions that stay as they are, by the names of their results.
    """
    with without_warnings(), without_absl_messages():
        engine = quantizer.Quantizer(float32)
        # Not the transposed ones: see `cost.QUANTIZABLE`.
        engine.update_quantization_recipe(
            ".*", _Op.CONV_2D, _DYNAMIC, quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
        )
        for name in in_float:
            engine.update_quantization_recipe(
                f"^{re.escape(name)};?$", _Op.CONV_2D, None, quantizer.AlgorithmName.NO_QUANTIZE
            )
        result = engine.quantize({}, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _engine_range(low: float, high: float) -> dict[str, Any]:
    return {"min": np.full((1, 1, 1, 1), low), "max": np.full((1, 1, 1, 1), high)}
