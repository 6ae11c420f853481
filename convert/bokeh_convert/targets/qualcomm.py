"""Qualcomm's NPU, for which LiteRT compiles a file ahead of time or on its first use."""

from __future__ import annotations

from bokeh_convert.targets import EIGHT_BITS, Rule, Target

# Its compiler is Qualcomm's own; what is known is what was compiled, nothing more.
_SOURCE = "compiled for SM8650 with LiteRT 2.3.0 and QNN of onnxruntime-qnn 2.7.0: the demo model, "
_IN_BOTH = {
    "ADD", "CONCATENATION", "CONV_2D", "LEAKY_RELU", "MAX_POOL_2D", "MEAN", "MUL", "RESHAPE",
    "RSQRT", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE", "SUB", "TANH", "TRANSPOSE_CONV",
}  # fmt: skip

TARGET = Target(
    name="qualcomm",
    summary="Qualcomm's NPU, through LiteRT",
    schemes=("int8", "full-integer", "float16", "int16x8"),
    rules=(
        Rule(
            "refuses",
            "float activations with int8 weights",
            _SOURCE + "dynamic-range",
            {"CONV_2D"},
            numbers={"dynamic-range"},
        ),
        Rule(
            "takes",
            "",
            _SOURCE + "float16, static int8 with merged convolutions",
            _IN_BOTH | {"AVERAGE_POOL_2D", "SPLIT"},
            numbers={"float32"},
        ),
        Rule("takes", "", _SOURCE + "float16", {"DEQUANTIZE"}, numbers={"float16"}),
        Rule(
            "takes",
            "",
            _SOURCE + "full-integer, static int8",
            _IN_BOTH | {"QUANTIZE", "DEQUANTIZE"},
            numbers=EIGHT_BITS,
        ),
        Rule(
            "takes",
            "",
            _SOURCE + "int16x8",
            {"CONV_2D", "DEQUANTIZE", "QUANTIZE", "TRANSPOSE_CONV"},
            numbers={"int16"},
        ),
    ),
)
