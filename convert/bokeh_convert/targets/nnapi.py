"""NNAPI, the accelerators of Android up to version 14. Its levels are in the contract."""

from __future__ import annotations

from collections.abc import Iterator

from bokeh_convert.targets import EIGHT_BITS, Rule, Target
from bokeh_runtime.contract.constants import (
    LAST_ANDROID_WITH_NNAPI,
    NNAPI_CONVERSIONS,
    NNAPI_OPERATORS,
)

_SOURCE = "tensorflow/lite/delegates/nnapi/nnapi_delegate.cc"
_MAX_RANK = 4
# Float activations with 8-bit weights need the level of 8-bit tensors.
_ON_8_BITS = {*EIGHT_BITS, "dynamic-range"}
_ON_FLOAT = {"float32", "float16", "other"}


def _rules() -> Iterator[Rule]:
    yield Rule("refuses", "works on int16", _SOURCE, numbers={"int16"})
    yield Rule(
        "refuses",
        f"works on {{rank}} dimensions, NNAPI on {_MAX_RANK}",
        _SOURCE,
        min_rank=_MAX_RANK + 1,
    )
    for name, by_type in NNAPI_CONVERSIONS.items():
        for kind, level in by_type.items():
            yield _level_rule(name, {kind}, kind, level)
    for name, levels in NNAPI_OPERATORS.items():
        yield _level_rule(name, _ON_8_BITS, "8 bits", levels.on_8_bits)
        yield _level_rule(name, _ON_FLOAT, "float", levels.on_float)
    yield Rule("refuses", "not an operator of NNAPI", _SOURCE)


def _level_rule(name: str, numbers: set[str], on: str, level: int | None) -> Rule:
    if level is None:
        return Rule("refuses", f"not on {on}", _SOURCE, {name}, numbers=numbers)
    why = f"from Android API level {level} to {LAST_ANDROID_WITH_NNAPI}"
    return Rule("takes", why, _SOURCE, {name}, numbers=numbers, api_level=level)


TARGET = Target(
    name="nnapi",
    summary="accelerators of Android up to 14, through NNAPI",
    # Static int8 leaves it the convolutions and, of the demo model, 77 parts; in full-integer files
    # RSQRT is refused too, which makes 153.
    schemes=("int8", "full-integer", "float32", "float16"),
    rules=tuple(_rules()),
)
