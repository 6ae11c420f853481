"""What every reader returns: a trained float model and where it came from."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bokeh_runtime.errors import InputError
from bokeh_runtime.photo import FloatImage

INPUT_NAME = "photo"
OUTPUT_NAME = "bokeh"


@dataclass(frozen=True)
class FloatModel:
    """A trained image-to-image model.

    Attributes:
        path: The file it was read from.
        format: "keras2-h5", "keras3-h5" or "keras3-zip".
        call: From a float tensor [1, height, width, channels] to the model's output or outputs.
        height, width: Of the input in pixels; None where the model leaves them open.
        channels: 3 (RGB) or 4 (RGB + depth).
    """

    path: Path
    format: str
    call: Callable[[Any], Any]
    height: int | None
    width: int | None
    channels: int

    @cached_property
    def sha256(self) -> str:
        """Hash of the source file, in hex."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return digest.hexdigest()

    def at(self, height: int, width: int) -> SizedModel:
        """Fixes the input's size in pixels.

        Raises:
            InputError: If the model does not take that size.
        """
        for side, own in ((height, self.height), (width, self.width)):
            if own is not None and side != own:
                raise InputError(
                    f"{self.path}: its input is fixed at {self.height} x {self.width}; "
                    "leave --size away"
                )
        spec = tf.TensorSpec([1, height, width, self.channels], tf.float32, name=INPUT_NAME)
        traced = tf.function(
            lambda photo: self._largest(self.call(photo)), input_signature=[spec], autograph=False
        )
        try:
            concrete = traced.get_concrete_function()
        except InputError:
            raise
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            cause = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{self.path}: does not take {height} x {width} px ({cause}); try another --size"
            ) from error
        return SizedModel(self, height, width, concrete)

    def _largest(self, outputs: Any) -> Any:
        pictures = [
            output
            for output in tf.nest.flatten(outputs)
            if output.shape.rank == 4 and output.shape[-1] == 3
        ]
        if not pictures:
            raise InputError(f"{self.path}: has no output of 3 channels; give a model that draws")
        return max(pictures, key=lambda output: output.shape[1])


@dataclass(frozen=True)
class SizedModel:
    """A `FloatModel` for one input size."""

    model: FloatModel
    height: int
    width: int
    concrete: Any

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output, not clipped, for float [height, width, channels] in [0, 1]."""
        output = self.concrete(tf.constant(image[np.newaxis]))
        return np.asarray(output[0], np.float32)


def keras_model(path: Path, file_format: str, model: Any) -> FloatModel:
    """Wraps a Keras model of either generation.

    Raises:
        InputError: If its inputs are not one picture of 3 or 4 channels.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise InputError(f"{path}: needs one input [batch, height, width, channels]")
    _, height, width, channels = tuple(model.inputs[0].shape)
    if channels not in (3, 4):
        raise InputError(
            f"{path}: its input has {channels} channels; 3 (RGB) or 4 (RGB + depth) can be fed"
        )

    def call(photo: Any) -> Any:
        return model(photo, training=False)

    return FloatModel(path, file_format, call, height, width, channels)


@contextmanager
def refusing(path: Path, library: str) -> Iterator[None]:
    """Turns whatever a library raises while it loads `path` into one clear line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a loader may raise anything on a file it does not expect
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: {library} cannot load it ({cause[0][:200]}); "
            "save the whole model again with model.save()"
        ) from error


@contextmanager
def suffixed(path: Path, suffix: str) -> Iterator[Path]:
    """Yields a path to the same file that ends in `suffix`: Keras goes by that, people rename."""
    if path.suffix == suffix:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.resolve())
        yield link
