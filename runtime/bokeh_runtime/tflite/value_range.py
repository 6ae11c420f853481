"""The range of values that stands for black to white in a network's input or output."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_TEXT = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")


@dataclass(frozen=True)
class ValueRange:
    """The values of a tensor that stand for black and for white.

    Attributes:
        low: The value of black.
        high: The value of white, larger than `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        try:
            finite = math.isfinite(self.low) and math.isfinite(self.high)
        except OverflowError:  # an integer that no float can hold
            finite = False
        if not (finite and self.low < self.high):
            raise InputError(
                f"value range {self}: both ends must be finite numbers, the lower one first; "
                "give one such as 0..1, -1..1 or 0..255"
            )

    @classmethod
    def parse(cls, text: str) -> ValueRange:
        """Reads a range written as "LOW..HIGH", such as "-1..1".

        Raises:
            InputError: If the text is no such range, or its ends are in the wrong order.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"value range '{text}': write it as LOW..HIGH, such as 0..1, -1..1 or 0..255"
            )
        return cls(float(found[1]), float(found[2]))

    @classmethod
    def of_argument(cls, name: str, text: str | None) -> ValueRange | None:
        """Reads the range that an argument gives; None if it is not given.

        Raises:
            InputError: See `parse`; it names the argument.
        """
        try:
            return None if text is None else cls.parse(text)
        except InputError as error:
            raise InputError(Argument(name, text), ": ", error) from error

    def from_unit(self, image: FloatImage) -> FloatImage:
        """Scales an image from [0, 1] to this range. Returns float32 of the same shape."""
        if self == UNIT:
            return image
        span = np.float32(self.high - self.low)
        return (image * span + np.float32(self.low)).astype(np.float32, copy=False)

    def to_unit(self, values: FloatImage) -> FloatImage:
        """Scales values of this range to [0, 1], without clipping. Returns float32."""
        if self == UNIT:
            return values
        span = np.float32(self.high - self.low)
        return ((values - np.float32(self.low)) / span).astype(np.float32, copy=False)

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


UNIT = ValueRange(0.0, 1.0)
SIGNED = ValueRange(-1.0, 1.0)
BYTES = ValueRange(0.0, 255.0)
STANDARD_RANGES = (UNIT, SIGNED, BYTES)
# How far an end of a range may be from a standard range's, as a share of that range's span. The
# PyNET authors' network ends in 0.58 * tanh + 0.5, which is -0.08..1.08 and stands for 0..1.
_TOLERANCE = 0.15


def nearest_standard(found: ValueRange) -> ValueRange | None:
    """Returns the standard range whose ends a range has, give or take 15 % of its span."""
    for standard in STANDARD_RANGES:
        allowed = _TOLERANCE * (standard.high - standard.low)
        ends = (abs(found.low - standard.low), abs(found.high - standard.high))
        if max(ends) <= allowed:
            return standard
    return None


@dataclass(frozen=True)
class ImageRanges:
    """The value ranges of a network's input and output."""

    input: ValueRange = UNIT
    output: ValueRange = UNIT


UNIT_RANGES = ImageRanges()
