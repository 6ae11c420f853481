"""Chooses the factors of channels that make the rounding errors of int8 the smallest.

They minimize the sum over the tensors of the rounding error in dB. `ChannelClasses` says which
channels must have the same factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_STEPS, _RATE, _NORM = 600, 0.05, 12.0
_SMALLEST_RANGE = 1e-4
"""Of the largest range of the tensor: channels with less are treated as having it."""


class ChannelClasses:
    """Groups channels of tensors that must have the same factor (a union-find structure)."""

    PINNED = 0
    """Class of the channels whose factor is 1."""

    def __init__(self, channels: Callable[[int], int]) -> None:
        """Starts without tensors.

        Args:
            channels: Gives the number of channels of a tensor.
        """
        self._count_channels = channels
        self._parents = [self.PINNED]
        self._slots: dict[int, range] = {}

    @property
    def tensors(self) -> list[int]:
        """The tensors that were added."""
        return list(self._slots)

    @property
    def count(self) -> int:
        """An upper bound of the numbers of the classes."""
        return len(self._parents)

    def add(self, *tensors: int) -> None:
        """Adds the channels of tensors that are not known, each in a class of its own."""
        for tensor in tensors:
            if tensor not in self._slots:
                begin = len(self._parents)
                self._slots[tensor] = range(begin, begin + self._count_channels(tensor))
                self._parents += self._slots[tensor]

    def roots(self, tensor: int) -> npt.NDArray[np.int64]:
        """Returns the class of each channel."""
        return np.array([self._root(slot) for slot in self._slots[tensor]], np.int64)

    def tie(self, tensor: int, target: int) -> None:
        """Joins the channels of two tensors with as many channels."""
        self.tie_all([tensor], target)

    def tie_all(self, tensors: Sequence[int], target: int) -> None:
        """Joins the channels of tensors, one after the other, with those of another tensor."""
        self.add(*tensors, target)
        slots = [slot for tensor in tensors for slot in self._slots[tensor]]
        for slot, other in zip(slots, self._slots[target], strict=True):
            self._join(slot, other)

    def pin(self, *tensors: int) -> None:
        """Gives all channels the factor 1."""
        self.add(*tensors)
        for tensor in tensors:
            for slot in self._slots[tensor]:
                self._join(slot, self.PINNED)

    def _root(self, slot: int) -> int:
        while self._parents[slot] != slot:
            self._parents[slot] = self._parents[self._parents[slot]]
            slot = self._parents[slot]
        return slot

    def _join(self, first: int, second: int) -> None:
        low, high = sorted((self._root(first), self._root(second)))
        self._parents[high] = low


@dataclass(frozen=True)
class RoundedTensor:
    """Channels that are rounded with one scale.

    Attributes:
        classes: The class of each channel, int64 [channels].
        largest: Largest absolute value of each channel, float64 [channels].
        weights: What a squared error in each channel is worth, float64 [channels].
    """

    classes: npt.NDArray[np.int64]
    largest: Vector
    weights: Vector


def smallest_error_logarithms(tensors: Sequence[RoundedTensor], count: int) -> Vector:
    """Returns the natural logarithm of the factor of each class, float64 [count].

    The rounding error of a tensor is proportional to its largest scaled channel; in channel c it
    shrinks by the factor of c. So its error, over what it is worth, is
    `max(r f)^2 * sum(w / f^2)`, with ranges r, factors f and weights w of the channels. The
    maximum is smoothed (a 12-norm), and Adam minimizes the sum of the logarithms.

    Args:
        tensors: What is rounded.
        count: Number of classes.
    """
    result = np.zeros(count)
    if not tensors:
        return result
    segment = np.repeat(np.arange(len(tensors)), [len(one.weights) for one in tensors])
    ranges = np.log(np.concatenate([_floored(one.largest) for one in tensors]))
    weight = np.concatenate([one.weights / one.weights.sum() for one in tensors])
    roots, member = np.unique(np.concatenate([one.classes for one in tensors]), return_inverse=True)
    logs, free = np.zeros(len(roots)), roots != ChannelClasses.PINNED
    first, second = np.zeros_like(logs), np.zeros_like(logs)
    for step in range(1, _STEPS + 1):
        own = logs[member]
        powers = _NORM * (ranges + own)
        top = np.full(len(tensors), -np.inf)
        np.maximum.at(top, segment, powers)
        shares = np.exp(powers - top[segment])
        shares /= np.bincount(segment, shares)[segment]
        errors = weight * np.exp(-2 * own)
        errors /= np.bincount(segment, errors)[segment]
        gradient = np.bincount(member, 2 * shares - 2 * errors, len(roots)) * free
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        slope = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-9)
        logs -= _RATE * (1 - (step - 1) / _STEPS) * slope
    result[roots] = logs
    return result


def _floored(ranges: Vector) -> Vector:
    return np.maximum(ranges, max(_SMALLEST_RANGE * ranges.max(), 1e-12))
