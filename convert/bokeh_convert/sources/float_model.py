"""What every reader returns: a trained float model and where it came from."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.graph import refuse_unknown_operators
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage

INPUT_NAME = "photo"
OUTPUT_NAME = "bokeh"
_UNKNOWN_CLASS = re.compile(
    r"(?:Unknown layer|Unknown object|Could not locate class):?\s*'?([\w>]+)"
)


@dataclass(frozen=True)
class FloatModel:
    """A trained image-to-image model.

    Attributes:
        path: What the user named.
        files: The files it was read from; all of them are hashed.
        format: "keras2-h5", "keras3-h5", "keras3-zip", "weights-h5", "saved-model" or
            "tf1-checkpoint".
        call: From a float tensor [1, height, width, channels] to the model's outputs by name.
        height, width: Of the input in pixels; None where the model leaves them open.
        channels: 3 (RGB) or 4 (RGB + depth).
        options: Which output to take.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    call: Callable[[Any], Mapping[str, Any]]
    height: int | None
    width: int | None
    channels: int
    options: SourceOptions

    @property
    def resampling(self) -> str:
        """How photos are scaled to the input, of `bokeh_runtime.imaging.resample.RESAMPLING`."""
        return self.options.resampling or ("bicubic" if self.format == "tf1-checkpoint" else "area")

    @property
    def name(self) -> str:
        """What the converted files are named after."""
        name = self.path.resolve().name
        for suffix in (".weights.h5", ".h5", ".hdf5", ".keras", ".ckpt"):
            if name.endswith(suffix):
                return name[: -len(suffix)]
        return name if self.path.is_dir() else self.path.stem

    @cached_property
    def sha256(self) -> str:
        """Hash of the source's files, in hex; of several files, of their names too."""
        digest = hashlib.sha256()
        for path in self.files:
            if len(self.files) > 1:
                digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    def at(self, height: int, width: int) -> SizedModel:
        """Fixes the input's size in pixels.

        Raises:
            InputError: If the model does not take that size, has no such output, or does more than
                compute.
        """
        for side, own in ((height, self.height), (width, self.width)):
            if own is not None and side != own:
                raise InputError(
                    f"{self.path}: its input is fixed at {self.height} x {self.width}; "
                    "leave --size away"
                )
        chosen: list[str] = []

        def draw(photo: Any) -> Any:
            outputs = self.call(photo)
            chosen[:] = [_choose(self.path, outputs, self.options, height)]
            return outputs[chosen[0]]

        spec = tf.TensorSpec([1, height, width, self.channels], tf.float32, name=INPUT_NAME)
        try:
            concrete = tf.function(
                draw, input_signature=[spec], autograph=False
            ).get_concrete_function()
        except InputError:
            raise
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            cause = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{self.path}: does not take {height} x {width} px ({cause}); try another --size"
            ) from error
        if not self.options.trust_source:
            refuse_unknown_operators(self.path, concrete.graph.as_graph_def())
        return SizedModel(self, height, width, chosen[0], concrete)


@dataclass(frozen=True)
class SizedModel:
    """A `FloatModel` for one input size.

    Attributes:
        output_name: The source's name for the output that is drawn.
    """

    model: FloatModel
    height: int
    width: int
    output_name: str
    concrete: Any

    def run(self, image: FloatImage) -> FloatImage:
        """Returns the output, not clipped, for float [height, width, channels] in [0, 1]."""
        output = self.concrete(tf.constant(image[np.newaxis]))
        return np.asarray(output[0], np.float32)


def input_size(path: Path, shape: Any) -> tuple[int | None, int | None, int]:
    """Returns height, width and channels of an input of shape [batch, height, width, channels].

    Raises:
        InputError: If it is not one picture of 3 or 4 channels.
    """
    if len(shape) != 4:
        raise InputError(f"{path}: needs an input [batch, height, width, channels]")
    _, height, width, channels = shape
    if channels not in (3, 4):
        raise InputError(
            f"{path}: its input has {channels} channels; 3 (RGB) or 4 (RGB + depth) can be fed"
        )
    return height, width, channels


def keras_model(path: Path, file_format: str, model: Any, options: SourceOptions) -> FloatModel:
    """Wraps a Keras model of either generation.

    Raises:
        InputError: If its inputs are not one picture of 3 or 4 channels.
    """
    if len(model.inputs) != 1:
        raise InputError(
            f"{path}: has {len(model.inputs)} inputs; give a model that takes one picture"
        )
    height, width, channels = input_size(path, tuple(model.inputs[0].shape))

    def call(photo: Any) -> dict[str, Any]:
        outputs = model(photo, training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        # A Sequential of Keras 3 has one output, without a name of its own.
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    return FloatModel(path, (path,), file_format, call, height, width, channels, options)


def _choose(path: Path, outputs: Mapping[str, Any], options: SourceOptions, height: int) -> str:
    """Returns the name of the output to draw: the one asked for, else the largest picture.

    Raises:
        InputError: If it is not there, or several are as large.
    """
    pictures = {
        name: output.shape
        for name, output in outputs.items()
        if output.shape.rank == 4 and output.shape[-1] == 3
    }
    if not pictures:
        raise InputError(f"{path}: has no output of 3 channels; give a model that draws")
    there = ", ".join(f"{name} ({shape[1]} x {shape[2]})" for name, shape in pictures.items())
    if options.output_name is not None:
        if options.output_name not in pictures:
            raise InputError(f"{path}: has no output {options.output_name}; there are {there}")
        return options.output_name
    if options.level is not None:
        side = height * 2 if options.level == "l_up" else height >> int(options.level[1:])
        fitting = [name for name, shape in pictures.items() if shape[1] == side]
        if len(fitting) != 1:
            found = "several outputs" if fitting else "no output"
            raise InputError(
                f"{path}: has {found} of level {options.level} ({side} px high); "
                f"there are {there}; choose with --output-name"
            )
        return fitting[0]
    if len(pictures) == 1:
        return next(iter(pictures))
    sizes = {name: shape.as_list()[1:3] for name, shape in pictures.items()}
    if all(None not in size for size in sizes.values()):
        most = max(rows * columns for rows, columns in sizes.values())
        largest = [name for name, (rows, columns) in sizes.items() if rows * columns == most]
        if len(largest) == 1:
            return largest[0]
    raise InputError(
        f"{path}: has several outputs that may be the picture: {there}; "
        "choose one with --output-name of bokeh-convert"
    )


@contextmanager
def refusing(path: Path, library: str) -> Iterator[None]:
    """Turns whatever a library raises while it loads `path` into one clear line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a loader may raise anything on a file it does not expect
        unknown = _UNKNOWN_CLASS.search(str(error))
        if unknown:
            name = unknown[1].rpartition(">")[2]
            raise InputError(
                f"{path}: needs the class {name}, which is not known here; "
                f"give it with --custom-objects module:{name}"
            ) from error
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
        try:
            link.symlink_to(path.resolve())
        except OSError:  # Windows lets only some users make links
            shutil.copyfile(path, link)
        yield link
