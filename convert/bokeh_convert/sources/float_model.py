"""What every reader returns: a trained float model and where it came from."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from bokeh_convert.sources.input_layout import InputLayout, NetworkInput, layout_of
from bokeh_convert.sources.options import SourceOptions
from bokeh_convert.sources.security.graph import refuse_unknown_operators
from bokeh_convert.sources.tracing import (
    INPUT_NAME,
    SizeError,
    cause_of,
    refusal,
    sizes_that_fit,
    trace,
)
from bokeh_convert.sources.value_range_choice import ValueRanges
from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.imaging.photo import FloatImage

__all__ = ["INPUT_NAME", "OUTPUT_NAME", "FloatModel", "SizedModel", "keras_model", "refusing"]

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
        network: From the inputs that `layout` describes to the model's outputs by name.
        layout: What the model takes.
        options: Which output to take.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    network: Callable[[Sequence[Any]], Mapping[str, Any]]
    layout: InputLayout
    options: SourceOptions

    @property
    def height(self) -> int | None:
        """Height of the input in pixels; None if the model leaves it open."""
        return self.layout.height

    @property
    def width(self) -> int | None:
        """Width of the input in pixels; None if the model leaves it open."""
        return self.layout.width

    @property
    def channels(self) -> int:
        """Channels of the input: 1 (luminance), 3 (RGB) or 4 (RGB + depth)."""
        return self.layout.channels

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
                    f"{self.path}: its input is fixed at {self.height} x {self.width}",
                    remedy=("leave out ", Argument("size")),
                )
        try:
            concrete, output_name = self._trace(height, width)
        except SizeError as error:
            found = sizes_that_fit(self._fits, height, width)
            raise refusal(self.path, (height, width), str(error), found) from error
        if not self.options.trust_source:
            refuse_unknown_operators(self.path, concrete.graph.as_graph_def())
        return SizedModel(self, height, width, output_name, concrete)

    def _trace(self, height: int, width: int) -> tuple[Any, str]:
        def network(photo: Any) -> Mapping[str, Any]:
            return self.layout.images(self.network(self.layout.feed(photo)))

        def choose(outputs: Mapping[str, Any]) -> str:
            return _choose(self, outputs, height)

        concrete, name = trace(self.path, network, choose, (height, width, self.channels))
        _, rows, columns, _ = concrete.outputs[0].shape
        if None in (rows, columns):
            raise SizeError("the size of its output depends on the photo")
        if columns != round(width * rows / height):
            raise SizeError(f"its output would be {rows} x {columns} px")
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
        output_name: The source's name for the output that is taken.
        ranges: Its value ranges.
    """

    model: FloatModel
    height: int
    width: int
    output_name: str
    concrete: Any
    ranges: ValueRanges = field(default_factory=ValueRanges)

    def run(self, image: FloatImage) -> FloatImage:
        """Infers one image.

        Args:
            image: float [height, width, channels] in [0, 1].

        Returns:
            float [output height, output width, 3 or 1], not clipped, white at 1.
        """
        return self.ranges.output.to_unit(self.run_raw(self.ranges.input.from_unit(image)))

    def run_raw(self, values: FloatImage) -> FloatImage:
        """Infers one image in the network's own value ranges; otherwise as `run`."""
        output = self.concrete(tf.constant(values[np.newaxis]))
        return np.asarray(output[0], np.float32)


def keras_model(path: Path, file_format: str, model: Any, options: SourceOptions) -> FloatModel:
    """Wraps a Keras model of either generation.

    Raises:
        InputError: If its inputs are not a photo, or a photo and a depth map.
    """
    layout = layout_of(
        path,
        [
            NetworkInput(own.name.partition(":")[0], tuple(own.shape), tf.as_dtype(own.dtype))
            for own in model.inputs
        ],
    )

    def network(inputs: Sequence[Any]) -> dict[str, Any]:
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        # A Sequential of Keras 3 has one output, without a name of its own.
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    return FloatModel(path, (path,), file_format, network, layout, options)


def _choose(model: FloatModel, outputs: Mapping[str, Any], height: int) -> str:
    """Returns the name of the output to draw: the one asked for, else the largest picture.

    Raises:
        InputError: If it is not there, or several are as large.
    """
    path, options = model.path, model.options
    # A network of luminance alone gives luminance.
    wanted = 1 if model.channels == 1 else 3
    pictures = {
        name: output.shape
        for name, output in outputs.items()
        if output.shape.rank == 4 and output.shape[-1] == wanted
    }
    if not pictures:
        found = " and ".join(f"{name} {output.shape}" for name, output in outputs.items())
        raise InputError(
            f"{path}: has no output [batch, height, width, {wanted}] but {found}; give an "
            "image-to-image network"
        )
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
        raise InputError(
            f"{path}: {library} cannot load it ({cause_of(error)}); "
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
