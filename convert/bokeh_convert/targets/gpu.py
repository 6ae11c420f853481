"""The GPU delegates of TensorFlow Lite and LiteRT, on phones and in browsers."""

from __future__ import annotations

from bokeh_convert.targets import EIGHT_BITS, Rule, Target

# TensorFlow 2.21's own analyzer calls every file compatible, even with TOPK_V2.
_SOURCE = "tensorflow/lite/tools/versioning/gpu_compatibility.cc"
_OPERATORS = frozenset(
    """
    ABS ADD ADD_N ATAN2 AVERAGE_POOL_2D BATCH_MATMUL CAST CEIL CONCATENATION CONV_2D COS CUMSUM
    DENSIFY DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV DYNAMIC_UPDATE_SLICE ELU
    EMBEDDING_LOOKUP EQUAL EXP FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GATHER GELU GREATER
    GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGISTIC LSTM MAXIMUM
    MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG NOT_EQUAL ONE_HOT PACK PAD PADV2 POW PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR
    RESIZE_NEAREST_NEIGHBOR RSQRT SELECT SELECT_V2 SIGN SIN SLICE SOFTMAX SPACE_TO_DEPTH SPLIT
    SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE STABLEHLO_CLAMP STRIDED_SLICE SUB SUM TANH TILE
    TRANSPOSE TRANSPOSE_CONV
    """.split()  # noqa: SIM905
)
_MAX_RANK = 4

TARGET = Target(
    name="gpu",
    # Both fill the channel tiles of CPU kernels, with more multiplications than needed.
    without_passes=("group-pixels", "merge-convolutions"),
    summary="a GPU with TensorFlow Lite's or LiteRT's delegate",
    schemes=("float16", "float32", "int8", "full-integer", "dynamic"),
    rules=(
        Rule("refuses", "not an operator of the GPU delegate", _SOURCE, other_than=_OPERATORS),
        Rule(
            "refuses",
            f"works on {{rank}} dimensions, the GPU delegate on {_MAX_RANK}",
            _SOURCE,
            min_rank=_MAX_RANK + 1,
        ),
        Rule(
            "refuses",
            "works on int16, the GPU delegate on float and 8 bits",
            "LiteRT.js 2.5.3 on WebGPU refuses int16x8 files",
            numbers={"int16"},
        ),
        Rule(
            "takes",
            "computed in float",
            "LiteRT.js 2.5.3 on WebGPU: dynamic-range and full-integer files",
            numbers={"dynamic-range", *EIGHT_BITS},
        ),
        Rule("takes", "", _SOURCE),
    ),
)
