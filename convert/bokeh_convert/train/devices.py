"""Trains on several devices with Keras's own data parallelism."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from bokeh_runtime.errors import Argument, InputError


def device_count() -> int:
    """Returns the number of devices that training uses.

    `keras.distribution` works with the JAX backend alone. Other backends use one GPU if there is
    one, and the CPU otherwise.
    """
    if keras.backend.backend() != "jax":
        return 1
    return max(1, len(keras.distribution.list_devices()))


@contextmanager
def all_devices(batch: int) -> Iterator[int]:
    """Splits the batches of models that are built in the block between all devices.

    Args:
        batch: Batch size, in all.

    Yields:
        The number of devices.

    Raises:
        InputError: If the batch size is not a multiple of the number of devices.
    """
    count = device_count()
    if count == 1:
        yield count
        return
    if batch % count:
        raise InputError(
            f"a batch of {batch} cannot be split between {count} devices",
            remedy=("make ", Argument("batch"), f" a multiple of {count}"),
        )
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    try:
        yield count
    finally:
        keras.distribution.set_distribution(before)
