"""Applies the quantization schemes with litert-quantizer."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from litert_quantizer import qtyping, quantizer

from bokeh_convert.process_state import without_absl_messages, without_warnings
from bokeh_convert.quantize.activation_statistics import Range
from bokeh_convert.quantize.full_integer import make_full_integer
from bokeh_convert.quantize.schemes import DYNAMIC_CONVOLUTION, Rule, Scheme


def quantize(float32: bytes, scheme: Scheme, ranges: Mapping[str, Range] | None = None) -> bytes:
    """Applies a scheme to a float32 .tflite file.

    Args:
        float32: The file, as `bokeh_convert.graph.to_tflite.lower` returns it.
        scheme: One of `SCHEMES` without `mixed_precision`.
        ranges: (minimum, maximum) of the activations; required if the scheme needs calibration.

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
    selected = None
    if scheme.calibration is not None:
        if ranges is None:
            raise ValueError(f"{scheme.name} needs measured ranges")
        selected = {name: _quantizer_range(*limits) for name, limits in ranges.items()}
    with without_warnings(), without_absl_messages():
        engine = quantizer.Quantizer(float32)
        for rule in scheme.rules:
            _add_rule(engine, rule)
        result = engine.quantize(selected, enable_progress_bar=False, enable_progress_report=False)
    content = bytes(result.quantized_model)
    return make_full_integer(content) if scheme.full_integer else content


def quantize_convolutions(float32: bytes, float_convolutions: Collection[str]) -> bytes:
    """Quantizes convolutions dynamically: int8 weights, inputs quantized at inference.

    Transposed convolutions stay float32; see `bokeh_convert.graph.cost_model.QUANTIZABLE`.

    Args:
        float32: The float32 .tflite file.
        float_convolutions: Names of the output tensors of the convolutions to keep in float32.
    """
    with without_warnings(), without_absl_messages():
        engine = quantizer.Quantizer(float32)
        _add_rule(engine, DYNAMIC_CONVOLUTION)
        for name in float_convolutions:
            engine.update_quantization_recipe(
                f"^{re.escape(name)};?$",
                qtyping.TFLOperationName.CONV_2D,
                None,
                quantizer.AlgorithmName.NO_QUANTIZE,
            )
        result = engine.quantize({}, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _add_rule(engine: quantizer.Quantizer, rule: Rule) -> None:
    is_float = rule.weights.kind == "float"
    algorithm = (
        quantizer.AlgorithmName.FLOAT_CASTING
        if is_float
        else quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
    )
    for operator in rule.operators:
        engine.update_quantization_recipe(
            ".*", qtyping.TFLOperationName(operator), _config(rule), algorithm
        )


def _config(rule: Rule) -> qtyping.OpQuantizationConfig:
    is_float = rule.weights.kind == "float"
    activations = None
    if rule.activations is not None:
        activations = qtyping.TensorQuantizationConfig(
            rule.activations.bits, symmetric=rule.activations.symmetric
        )
    weights = qtyping.TensorQuantizationConfig(
        num_bits=rule.weights.bits,
        granularity=qtyping.QuantGranularity.TENSORWISE
        if is_float
        else qtyping.QuantGranularity.CHANNELWISE,
        dtype=qtyping.TensorDataType.FLOAT if is_float else qtyping.TensorDataType.INT,
    )
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=activations,
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.FLOAT
        if is_float
        else qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=is_float,
    )


def _quantizer_range(low: float, high: float) -> dict[str, Any]:
    return {"min": np.full((1, 1, 1, 1), low), "max": np.full((1, 1, 1, 1), high)}
