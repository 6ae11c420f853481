"""The quantization schemes, as data; `bokeh_convert.quantize.engine` applies them.

A scheme is added by an entry in `SCHEMES` alone: the options, their help and the stages of a
conversion read it from there. This module imports neither litert-quantizer nor NumPy, so that the
options can be checked before anything large is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

EVERY_OPERATOR = ("*",)
"""Operators of a rule: all that litert-quantizer supports."""
CONVOLUTIONS = ("CONV_2D", "CONV_2D_TRANSPOSE")


@dataclass(frozen=True)
class Weights:
    """How weights are stored.

    Attributes:
        bits: Bits of each value.
        kind: "int" with a scale for each channel, or "float".
    """

    bits: int
    kind: Literal["int", "float"] = "int"


@dataclass(frozen=True)
class Activations:
    """How activations are stored: as integers whose scale is found by calibration.

    Attributes:
        bits: Bits of each value.
        symmetric: Whether the zero point is 0.
    """

    bits: int
    symmetric: bool


@dataclass(frozen=True)
class Rule:
    """How some operators are quantized.

    Attributes:
        operators: Their names as in litert-quantizer's `TFLOperationName`.
        weights: How their weights are stored. They are computed in float if these are floats, in
            integers otherwise.
        activations: How their activations are stored; None for float32. Integer weights then mean
            that the input is quantized at inference.
    """

    operators: Sequence[str]
    weights: Weights
    activations: Activations | None = None


@dataclass(frozen=True)
class Scheme:
    """A quantization scheme for a whole file.

    Attributes:
        name: Value of the option `--quant`.
        summary: What it stands for, in a few words for the help.
        rules: How operators are quantized; later rules win. Operators without a rule stay float32.
        mixed_precision: How `bokeh_convert.quantize.mixed_precision_search` makes the files among
            which it chooses: "dynamic" or "static" range quantization of the convolutions, see
            `bokeh_convert.quantize.mixed_precision_files`. None if the scheme needs no search.
        calibration: How the range of each activation follows from the photos: a method of
            `bokeh_convert.quantize.activation_statistics.ActivationStatistics`. None if the rules
            need no ranges. Schemes with rules and calibration start from the graph without
            rewrites, which has fewer operators.
        equalize: Whether the ranges of channels are equalized before.
        full_integer: Whether no float operator may remain, and input and output become uint8; see
            `bokeh_convert.quantize.full_integer`.
        int16_emulation: Whether large files are verified with
            `bokeh_convert.quantize.int16_emulation`.
        fp16_arithmetic: Whether `bokeh_convert.quantize.fp16_arithmetic` decides if ARM CPUs may
            compute in float16.
    """

    name: str
    summary: str
    rules: Sequence[Rule] = ()
    mixed_precision: Literal["dynamic", "static"] | None = None
    calibration: Literal["smallest_error", "min_max"] | None = None
    equalize: bool = False
    full_integer: bool = False
    int16_emulation: bool = False
    fp16_arithmetic: bool = False

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges must be measured on photos."""
        return self.calibration is not None or self.equalize

    @property
    def quantizes(self) -> bool:
        """Whether the scheme changes the float32 file at all."""
        return bool(self.rules) or self.mixed_precision is not None


DYNAMIC_CONVOLUTION = Rule(("CONV_2D",), Weights(8))
"""Transposed convolutions stay float32; see `bokeh_convert.graph.cost_model.QUANTIZABLE`."""

SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            Scheme("float32", "as trained"),
            Scheme(
                "float16",
                "float16 weights",
                (Rule(EVERY_OPERATOR, Weights(16, "float")),),
                fp16_arithmetic=True,
            ),
            Scheme(
                "dynamic",
                "int8 weights, float activations that are rounded at inference",
                mixed_precision="dynamic",
                equalize=True,
            ),
            Scheme(
                "int8",
                "int8 weights and activations; float16 where the image needs it",
                mixed_precision="static",
                equalize=True,
                fp16_arithmetic=True,
            ),
            # 16 bits are fine enough for the full range, outliers included.
            Scheme(
                "int16x8",
                "int8 weights, int16 activations",
                (Rule(CONVOLUTIONS, Weights(8), Activations(16, symmetric=True)),),
                calibration="min_max",
                int16_emulation=True,
            ),
            Scheme(
                "full-integer",
                "int8 throughout, uint8 input and output",
                (Rule(EVERY_OPERATOR, Weights(8), Activations(8, symmetric=False)),),
                calibration="smallest_error",
                equalize=True,
                full_integer=True,
            ),
        )
    }
)
DEFAULT_SCHEME = "float16"
