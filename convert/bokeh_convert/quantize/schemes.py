"""Quantization schemes as data, and their application with litert-quantizer."""

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
from bokeh_convert.quantize.int16_emulation import emulate_int16

_Op = qtyping.TFLOperationName
_CONVOLUTIONS = (_Op.CONV_2D, _Op.CONV_2D_TRANSPOSE)
_EVERY = (_Op.ALL_SUPPORTED,)

Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Scheme:
    """A quantization scheme for a whole file.

    Attributes:
        name: Value of the option `--quant`.
        summary: One line for the help.
        rules: Pairs of operators and their quantization; later rules win. Operators without a rule
            stay float32.
        mixed_precision: Whether `bokeh_convert.quantize.mixed_precision_search` decides, from the
            output, which operators are quantized.
        select_ranges: Returns the range of each activation; None if the scheme needs no
            calibration. Calibrated schemes start from the graph without rewrites: the form of
            instance norm that is safe in float16 loses more to 8 bits (full-integer, a
            quarter-width PyNET: 38.6 dB instead of 41.9).
        postprocess: Applied to the file after the quantizer.
        emulate: Returns a faster file with nearly the same output, to verify a large model.
    """

    name: str
    summary: str
    rules: tuple[tuple[tuple[Any, ...], qtyping.OpQuantizationConfig], ...]
    mixed_precision: bool = False
    select_ranges: Callable[[ActivationRanges], Ranges] | None = None
    postprocess: Callable[[bytes], bytes] | None = None
    emulate: Callable[[bytes], bytes] | None = None

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges must be measured on photos."""
        return self.select_ranges is not None


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
        Scheme("dynamic", "int8 weights, dynamic ranges", (((_Op.CONV_2D,), _DYNAMIC),)),
        Scheme("int8", "int8 where the PSNR allows, else float32", (), mixed_precision=True),
        # 16 bits are fine enough for the full range, outliers included.
        Scheme(
            "int16x8",
            "int8 weights, int16 activations of convolutions; slow on CPUs",
            ((_CONVOLUTIONS, _INT16),),
            select_ranges=ActivationRanges.min_max,
            emulate=emulate_int16,
        ),
        Scheme(
            "full-integer",
            "int8 throughout, uint8 input and output",
            ((_EVERY, _INT8),),
            select_ranges=ActivationRanges.averaged,
            postprocess=make_full_integer,
        ),
    )
}


def quantize(float32: bytes, scheme: Scheme, measured: ActivationRanges | None = None) -> bytes:
    """Applies a scheme to a float32 .tflite file.

    Args:
        float32: The file, as `bokeh_convert.graph.to_tflite.lower` returns it.
        scheme: One of `SCHEMES` without `mixed_precision`.
        measured: Activation ranges; required if the scheme needs calibration.

    Returns:
        The .tflite file.

    Raises:
        InputError: If the scheme is full-integer and an operator of the model has no integer
            kernel.
        ValueError: If the scheme uses mixed precision, or the ranges are missing.
    """
    if scheme.mixed_precision:
        raise ValueError(f"{scheme.name} needs a mixed-precision search")
    if not scheme.rules:
        return float32
    ranges = None
    if scheme.select_ranges is not None:
        if measured is None:
            raise ValueError(f"{scheme.name} needs measured ranges")
        selected = scheme.select_ranges(measured)
        ranges = {name: _quantizer_range(*limits) for name, limits in selected.items()}
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
    return scheme.postprocess(content) if scheme.postprocess else content


def quantize_convolutions(float32: bytes, float_convolutions: Collection[str]) -> bytes:
    """Quantizes convolutions dynamically: int8 weights, inputs quantized at inference.

    Transposed convolutions stay float32; see `bokeh_convert.graph.cost_model.QUANTIZABLE`.

    Args:
        float32: The float32 .tflite file.
        float_convolutions: Names of the output tensors of the convolutions to keep in float32.
    """
    with without_warnings(), without_absl_messages():
        engine = quantizer.Quantizer(float32)
        engine.update_quantization_recipe(
            ".*", _Op.CONV_2D, _DYNAMIC, quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
        )
        for name in float_convolutions:
            engine.update_quantization_recipe(
                f"^{re.escape(name)};?$", _Op.CONV_2D, None, quantizer.AlgorithmName.NO_QUANTIZE
            )
        result = engine.quantize({}, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _quantizer_range(low: float, high: float) -> dict[str, Any]:
    return {"min": np.full((1, 1, 1, 1), low), "max": np.full((1, 1, 1, 1), high)}
