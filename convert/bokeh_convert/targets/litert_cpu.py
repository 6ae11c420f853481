"""The CPU with LiteRT, as this package's own runtime uses it."""

from __future__ import annotations

from bokeh_convert.targets import Rule, Target

TARGET = Target(
    name="litert-cpu",
    summary="a CPU with LiteRT",
    schemes=("int8", "float16", "full-integer", "dynamic", "float32", "int16x8"),
    rules=(
        Rule("refuses", "a kernel of its own is needed", "LiteRT's API", {"CUSTOM"}),
        Rule(
            "slow",
            "int16 has reference kernels only",
            "LiteRT 2.3.0 on x86: an int16x8 picture takes 4.4 s",
            {"CONV_2D", "TRANSPOSE_CONV"},
            numbers={"int16"},
        ),
        Rule("takes", "", "built-in operators of LiteRT"),
    ),
)
