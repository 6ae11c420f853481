"""The CPU with the interpreter of TensorFlow Lite 2.16, as in the Android app."""

from __future__ import annotations

from bokeh_convert.targets import Rule, Target

# The last in LiteRT 2.3's schema; whether 2.16 has them was not tried.
_LATER = {"STABLEHLO_COMPOSITE", "STABLEHLO_SHIFT_LEFT", "STABLEHLO_CBRT", "STABLEHLO_CASE"}

TARGET = Target(
    name="tflite-2.16-cpu",
    summary="a CPU with TensorFlow Lite 2.16, as in the Android app",
    schemes=("int8", "full-integer", "float16", "dynamic", "float32", "int16x8"),
    rules=(
        Rule("refuses", "a kernel of its own is needed", "TensorFlow Lite's API", {"CUSTOM"}),
        Rule("unknown", "may be newer than TensorFlow Lite 2.16", "the schema", _LATER),
        Rule(
            "slow",
            "no faster than in float, as its input is quantized at each run",
            "TensorFlow Lite 2.16.1 on x86: 0.9 to 2.1 of float16's time, static int8 0.2 to 0.6",
            {"CONV_2D"},
            numbers={"dynamic-range"},
        ),
        Rule(
            "slow",
            "int16 has reference kernels only",
            "kernels of TensorFlow Lite 2.16",
            {"CONV_2D", "TRANSPOSE_CONV"},
            numbers={"int16"},
        ),
        Rule("takes", "", "built-in operators of TensorFlow Lite 2.16"),
    ),
)
