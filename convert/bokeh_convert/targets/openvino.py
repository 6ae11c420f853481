"""Intel's OpenVINO, which LiteRT's plugin compiles a file for on its first use."""

from __future__ import annotations

from bokeh_convert.targets import Rule, Target

_SOURCE = "the plugin of LiteRT 2.3.0"
_MEASURED = "OpenVINO 2026.3.1 with LiteRT 2.3.0 on a CPU: the demo model"
_OPERATORS = frozenset(
    """
    ABS ADD ARG_MAX AVERAGE_POOL_2D BATCH_MATMUL BROADCAST_TO CAST CONCATENATION CONV_2D
    CONV_3D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV EMBEDDING_LOOKUP EQUAL
    EXP EXPAND_DIMS FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GATHER_ND GELU GREATER
    GREATER_EQUAL HARD_SWISH L2_NORMALIZATION LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND
    LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NOT_EQUAL
    ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE RANGE REDUCE_ALL REDUCE_MAX RELU RELU_0_TO_1
    RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 RSQRT SELECT SELECT_V2 SIGN SIN
    SLICE SOFTMAX SPLIT SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_COMPOSITE STRIDED_SLICE SUB
    SUM TANH TILE TOPK_V2 TRANSPOSE TRANSPOSE_CONV UNPACK
    """.split()  # noqa: SIM905
)

TARGET = Target(
    name="openvino",
    summary="Intel's OpenVINO, through LiteRT",
    schemes=("float16", "float32", "int8", "full-integer", "int16x8", "dynamic"),
    rules=(
        Rule(
            "fails",
            "its axis is a list, and OpenVINO wants a scalar",
            _MEASURED,
            {"SPLIT"},
            list_for_scalar=True,
        ),
        Rule("refuses", "not an operator of LiteRT's plugin", _SOURCE, other_than=_OPERATORS),
        Rule(
            "takes",
            "computed in float",
            _MEASURED,
            {"CONV_2D"},
            numbers={"dynamic-range"},
        ),
        Rule("takes", "", _SOURCE),
    ),
    # LiteRT 2.3.0 sends the second part to an NPU, whatever device was asked for.
    splits="one",
    passes=("space-to-depth",),
)
