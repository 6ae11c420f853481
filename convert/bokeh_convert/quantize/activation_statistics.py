"""What calibration found out about activations, and the ranges that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

Range = tuple[float, float]
"""Minimum and maximum of an activation."""
_BINS = 1024
_SHARES = np.linspace(0.3, 1.0, 15)
"""Shares of the whole range that are tried, of each end."""
LEVELS = 255
"""Steps between the lowest and the highest int8 value."""


@dataclass(frozen=True)
class TensorStatistics:
    """An activation on the calibration photos.

    Attributes:
        minima, maxima: Range of each channel, float32 [photos, channels].
        samples: Values of some pixels, float32 [photos, pixels, channels].
    """

    minima: npt.NDArray[np.float32]
    maxima: npt.NDArray[np.float32]
    samples: npt.NDArray[np.float32]

    @property
    def whole(self) -> Range:
        """The range over all photos and channels."""
        return float(self.minima.min()), float(self.maxima.max())

    @property
    def largest(self) -> npt.NDArray[np.float64]:
        """Largest absolute value of each channel over all photos, float64 [channels]."""
        both = np.maximum(self.maxima.max(axis=0), -self.minima.min(axis=0))
        return np.asarray(both, np.float64)

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Variance of each channel over the samples, float64 [channels]."""
        return np.asarray(self.samples.var(axis=(0, 1), dtype=np.float64))

    def scaled(self, factors: npt.NDArray[np.float64]) -> TensorStatistics:
        """Returns the statistics of the activation times a positive factor for each channel."""
        by = factors.astype(np.float32)
        return TensorStatistics(self.minima * by, self.maxima * by, self.samples * by)

    def smallest_error(self, negative_weight: float = 1.0) -> Range:
        """Returns the range, with 0 in it, in which int8 makes the smallest squared error.

        Values outside are clipped; a smaller range rounds the others more finely. The errors are
        those of the samples; where the samples miss the extremes, so does the result.

        Args:
            negative_weight: What a squared error of a negative value counts, compared with that
                of a positive one.
        """
        low, high = self.whole
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            return low, high
        counts, edges = np.histogram(self.samples, _BINS, (low, high))
        centres = (edges[:-1] + edges[1:]) / 2
        weights = counts * np.where(centres < 0, negative_weight, 1.0)
        # The widest first, which is taken of equal errors.
        lows, highs = np.unique(low * _SHARES), np.unique(high * _SHARES)[::-1]
        clipped_low = [np.sum(weights * np.minimum(centres - end, 0) ** 2) for end in lows]
        clipped_high = [np.sum(weights * np.maximum(centres - end, 0) ** 2) for end in highs]
        step = (highs[None, :] - lows[:, None]) / LEVELS
        rounding = weights.sum() * step**2 / 12
        errors = rounding + np.array(clipped_low)[:, None] + np.array(clipped_high)[None, :]
        row, column = np.unravel_index(np.argmin(errors), errors.shape)
        return float(lows[row]), float(highs[column])


@dataclass(frozen=True)
class ActivationStatistics:
    """The activations of a network on the calibration photos.

    Attributes:
        tensors: Statistics by the name of the activation.
        input, output: Names of the network input and the network output.
        images: Value ranges of the network's input and output.
        input_copies: Names of activations that hold values of the network's input.
    """

    tensors: Mapping[str, TensorStatistics]
    input: str
    output: str
    images: ImageRanges = UNIT_RANGES
    input_copies: frozenset[str] = frozenset()

    def with_input_copies(self, names: Collection[str]) -> ActivationStatistics:
        """Gives activations that hold values of the network's input its value range.

        That range is known, so that bright values which no calibration photo has are not clipped.
        """
        low, high = self.images.input.low, self.images.input.high
        copies = {
            name: TensorStatistics(
                np.full_like(self.tensors[name].minima, low),
                np.full_like(self.tensors[name].maxima, high),
                self.tensors[name].samples,
            )
            for name in names
            if name in self.tensors
        }
        return replace(self, tensors={**self.tensors, **copies}, input_copies=frozenset(copies))

    def min_max(self) -> dict[str, Range]:
        """Returns the whole range of each activation over all photos."""
        return self._with_images({name: one.whole for name, one in self.tensors.items()})

    def smallest_error(
        self, negative_weights: Mapping[str, float] | None = None
    ) -> dict[str, Range]:
        """Returns the range of each activation in which int8 makes the smallest squared error.

        Args:
            negative_weights: See `TensorStatistics.smallest_error`; 1 for names that are missing.
        """
        weights = negative_weights or {}
        return self._with_images(
            {
                name: one.whole
                if name in self.input_copies
                else one.smallest_error(weights.get(name, 1.0))
                for name, one in self.tensors.items()
            }
        )

    def scaled(self, factors: Mapping[str, npt.NDArray[np.float64]]) -> ActivationStatistics:
        """Returns the statistics after channels of some activations were multiplied by factors."""
        tensors = {
            name: one.scaled(factors[name]) if name in factors else one
            for name, one in self.tensors.items()
        }
        return replace(self, tensors=tensors)

    def _with_images(self, ranges: dict[str, Range]) -> dict[str, Range]:
        # Images are in their value ranges, whatever was measured; overshoot is clipped.
        ends = ((self.input, self.images.input), (self.output, self.images.output))
        return {**ranges, **{name: (own.low, own.high) for name, own in ends if name in ranges}}


@dataclass(frozen=True)
class RangeStability:
    """How far the ranges depend on the choice of calibration photos.

    Attributes:
        photos: Number of photos.
        halves_differ: Relative difference of the ranges that two halves of the photos give, the
            mean over the activations; None for a single photo. Large: there are too few photos.
        photos_differ: Standard deviation of a photo's range over the mean, the mean over the
            activations. Small: the photos are alike.
    """

    photos: int
    halves_differ: float | None
    photos_differ: float

    @property
    def warning(self) -> str | None:
        """What the user should do; None if the photos are enough."""
        if self.halves_differ is None:
            return "calibration: one photo does not give stable ranges; add photos"
        if self.halves_differ > MAX_HALVES_DIFFER:
            return (
                f"calibration: the ranges of two halves of the {self.photos} photos differ by "
                f"{self.halves_differ:.0%} on average; add photos"
            )
        if self.photos_differ < MIN_PHOTOS_DIFFER:
            return (
                f"calibration: the {self.photos} photos are alike (their ranges differ by "
                f"{self.photos_differ:.0%}); add photos of other scenes, bright and dark"
            )
        return None


MAX_HALVES_DIFFER = 0.25
MIN_PHOTOS_DIFFER = 0.04


def range_stability(statistics: ActivationStatistics) -> RangeStability:
    """Compares the ranges of the photos with each other."""
    measured = [one for name, one in statistics.tensors.items() if name != statistics.input]
    # By photo and activation.
    lows = np.array([one.minima.min(axis=1) for one in measured]).T
    highs = np.array([one.maxima.max(axis=1) for one in measured]).T
    widths = np.maximum(highs, 0) - np.minimum(lows, 0)
    varying = widths.max(axis=0) > 0
    widths, lows, highs = widths[:, varying], lows[:, varying], highs[:, varying]
    photos = len(widths)
    differ = float(np.mean(widths.std(axis=0) / widths.mean(axis=0))) if widths.size else 0.0
    if photos < 2:
        return RangeStability(photos, None, differ)
    halves = [
        np.maximum(highs[half], 0).max(axis=0) - np.minimum(lows[half], 0).min(axis=0)
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    larger, smaller = np.maximum(*halves), np.minimum(*halves)
    between = float(np.mean(1 - smaller / larger)) if widths.size else 0.0
    return RangeStability(photos, between, differ)
