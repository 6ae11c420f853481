"""The trained float model that all readers return, and helpers that they share."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bokeh_convert.sources.input_layout import InputLayout, NetworkInput, layout_of
from bokeh_convert.sources.model_types import ConcreteFunction, KerasModel, Tensor
from bokeh_convert.sources.options import SourceOptions, custom_object
from bokeh_convert.sources.security.graph import refuse_unknown_operators
from bokeh_convert.sources.tracing import (
    INPUT_NAME,
    SizeError,
    cause_of,
    fixed_size,
    refusal,
    sizes_that_fit,
    trace,
)
from bokeh_convert.sources.without_rounding import without_rounding
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "FloatModel", "SizedModel", "keras_model"]

OUTPUT_NAME = "bokeh"
_UNKNOWN_CLASS = re.compile(
    r"(?:Unknown layer|Unknown object|Could not locate class):?\s*'?([\w>]+)"
)


@dataclass(frozen=True)
class FloatModel:
    """A trained image-to-image model.

    Attributes:
        path: The path that the user gave.
        files: All files of the model; they are hashed.
        format: "keras2-h5", "keras3-h5", "keras3-zip", "weights-h5", "saved-model" or
            "tf1-checkpoint".
        network: Function from the inputs that `layout` describes to the model's outputs by name.
        layout: What the model takes as input.
        options: How the model was read, and which output to use.
        keras_model: The model of Keras 3 that `network` calls; None for other formats.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    network: Callable[[Sequence[Tensor]], Mapping[str, Tensor]]
    layout: InputLayout
    options: SourceOptions
    keras_model: KerasModel | None = None

    @property
    def height(self) -> int | None:
        """Height of the input in pixels; None if the model does not fix it."""
        return self.layout.height

    @property
    def width(self) -> int | None:
        """Width of the input in pixels; None if the model does not fix it."""
        return self.layout.width

    @property
    def channels(self) -> int:
        """Channels of the input: 1 (luminance), 3 (RGB) or 4 (RGB + depth)."""
        return self.layout.channels

    @property
    def resampling(self) -> str:
        """How photos are resized to the input; see `bokeh_runtime.imaging.resample.RESAMPLING`."""
        return self.options.resampling or ("bicubic" if self.format == "tf1-checkpoint" else "area")

    @property
    def name(self) -> str:
        """Name of the model, from which the names of the converted files are made."""
        name = self.path.resolve().name
        for suffix in (".weights.h5", ".h5", ".hdf5", ".keras", ".ckpt"):
            if name.endswith(suffix):
                return name[: -len(suffix)]
        return name if self.path.is_dir() else self.path.stem

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the files, in hex; of several files, with their names."""
        digest = hashlib.sha256()
        for path in self.files:
            if len(self.files) > 1:
                digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    def at(self, height: int, width: int) -> SizedModel:
        """Fixes the input size.

        Args:
            height: Height of the input, in pixels.
            width: Width of the input, in pixels.

        Raises:
            InputError: If the model does not support that size, does not have the selected output,
                or its graph has operators with side effects.
        """
        for side, own in ((height, self.height), (width, self.width)):
            if own is not None and side != own:
                fixed, remedy = fixed_size(self.height, self.width)
                raise InputError(f"{self.path}: its input size is fixed at {fixed}", remedy=remedy)
        try:
            concrete, output_name = self._trace(height, width)
        except SizeError as error:
            found = sizes_that_fit(self._fits, height, width)
            raise refusal(self.path, (height, width), str(error), found) from error
        if not self.options.trust_source:
            refuse_unknown_operators(self.path, concrete.graph.as_graph_def())
        return SizedModel(self, height, width, output_name, concrete)

    def _trace(self, height: int, width: int) -> tuple[ConcreteFunction, str]:
        def network(image: Tensor) -> Mapping[str, Tensor]:
            return self.layout.images(self.network(self.layout.feed(image)))

        def choose(outputs: Mapping[str, Tensor]) -> str:
            return _choose(self, outputs, height)

        concrete, name = trace(self.path, network, choose, (height, width, self.channels))
        _, rows, columns, _ = concrete.outputs[0].shape.as_list()
        if rows is None or columns is None:
            raise SizeError("the size of its output depends on the photo")
        multiple = rows % height == 0 or height % rows == 0
        if not multiple or columns * height != width * rows:
            raise SizeError(f"its output would have {rows} x {columns} px, no multiple of that")
        return concrete, name

    def _fits(self, height: int, width: int) -> bool:
        try:
            self._trace(height, width)
        except SizeError:
            return False
        return True


@dataclass(frozen=True)
class SizedModel:
    """A `FloatModel` for one input size.

    Attributes:
        model: The model.
        height, width: Input size in pixels.
        output_name: Name of the selected output in the source.
        concrete: The traced function of that output, in the network's own value ranges.
        ranges: The value ranges of its input and output.
    """

    model: FloatModel
    height: int
    width: int
    output_name: str
    concrete: ConcreteFunction
    ranges: ImageRanges = UNIT_RANGES

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the model in float; of fake quantization that it was trained with, it only clips.

        Args:
            image: Network input, float [height, width, channels] in [0, 1].

        Returns:
            Network output, float32 [h, w, 3 or 1] in about [0, 1], not clipped.
        """
        return self.ranges.output.to_unit(self.run_raw(self.ranges.input.from_unit(image)))

    def run_raw(self, values: FloatImage) -> FloatImage:
        """Runs the model on values of its own input range; returns values of its output range."""
        output = self._float_function(tf.constant(values[np.newaxis]))
        return np.asarray(output[0], np.float32)

    @cached_property
    def _float_function(self) -> ConcreteFunction:
        return without_rounding(self.concrete)


def keras_model(
    path: Path, file_format: str, model: KerasModel, options: SourceOptions
) -> FloatModel:
    """Wraps a model of Keras 2 or 3.

    Raises:
        InputError: If its inputs are not a photo, or a photo and a depth map.
    """
    inputs = [
        NetworkInput(own.name.partition(":")[0], tuple(own.shape), tf.as_dtype(own.dtype))
        for own in model.inputs
    ]

    def network(inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        outputs = model(_as_called(model, inputs), training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        # A Keras 3 Sequential has one output, without a name.
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        return dict(zip(_distinct(names), tf.nest.flatten(outputs), strict=True))

    layout = layout_of(path, inputs)
    own = None if file_format == "keras2-h5" else model
    return FloatModel(path, (path,), file_format, network, layout, options, own)


def _as_called(model: KerasModel, inputs: Sequence[Tensor]) -> Any:
    """Returns inputs, in the order of `model.inputs`, in the form in which a model takes them."""
    form = getattr(model, "input", None)
    if isinstance(form, Mapping):
        values = {id(own): value for own, value in zip(model.inputs, inputs, strict=True)}
        return {name: values[id(own)] for name, own in form.items()}
    return inputs[0] if len(inputs) == 1 else list(inputs)


def _distinct(names: Sequence[str]) -> list[str]:
    """Numbers names that occur again: both outputs of a layer that is called twice have its."""
    found: list[str] = []
    for name in names:
        tried = itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(1)))
        found.append(next(n for n in tried if n not in found and (n == name or n not in names)))
    return found


def _choose(model: FloatModel, outputs: Mapping[str, Tensor], height: int) -> str:
    """Returns the name of the selected output, by default of the largest image.

    Raises:
        InputError: If there is no such output, or more than one.
    """
    path, options = model.path, model.options
    # A network of luminance alone has an output of luminance.
    channels = 1 if model.channels == 1 else 3
    images = {
        name: output.shape
        for name, output in outputs.items()
        if output.shape.rank == 4 and output.shape[-1] == channels
    }
    if not images:
        found = " and ".join(f"{name} {output.shape}" for name, output in outputs.items())
        raise InputError(
            f"{path}: has no output with {channels} channels but {found}; give a model whose "
            "output is an image"
        )
    available = ", ".join(f"{name} ({shape[1]} x {shape[2]})" for name, shape in images.items())
    if options.output_name is not None:
        if options.output_name not in images:
            raise InputError(
                f"{path}: has no output {options.output_name}; choose from {available}"
            )
        return options.output_name
    if options.level is not None:
        side = height * 2 if options.level == "l_up" else height >> int(options.level[1:])
        fitting = [name for name, shape in images.items() if shape[1] == side]
        if len(fitting) != 1:
            found = "several outputs" if fitting else "no output"
            raise InputError(
                f"{path}: has {found} of level {options.level} ({side} px high) among {available}",
                remedy=("choose one with ", Argument("output_name")),
            )
        return fitting[0]
    if len(images) == 1:
        return next(iter(images))
    sizes = {name: shape.as_list()[1:3] for name, shape in images.items()}
    pixels = {name: rows * columns for name, (rows, columns) in sizes.items() if rows and columns}
    if len(pixels) == len(sizes):
        largest_size = max(pixels.values())
        largest = [name for name, count in pixels.items() if count == largest_size]
        if len(largest) == 1:
            return largest[0]
    raise InputError(
        f"{path}: more than one output may be the image: {available}",
        remedy=("choose one with ", Argument("output_name")),
    )


@contextmanager
def loading_errors(path: Path, library: str) -> Iterator[None]:
    """Converts any exception that a library raises while it loads `path` into an InputError.

    Args:
        path: The source, for the error message.
        library: Name of the library, for the error message.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a loader may raise anything on a file it does not expect
        unknown = _UNKNOWN_CLASS.search(str(error))
        if unknown:
            name = unknown[1].rpartition(">")[2]
            raise InputError(
                f"{path}: needs the unknown class {name}",
                remedy=("give it with ", custom_object("module", name)),
            ) from error
        raise InputError(
            f"{path}: {library} cannot load it ({cause_of(error)}); "
            "save the whole model again with model.save()"
        ) from error


@contextmanager
def suffixed(path: Path, suffix: str) -> Iterator[Path]:
    """Yields a path to the same file that ends in `suffix`, from which Keras infers the format."""
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
