"""The trained float model that all readers return, and helpers that they share."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from bokeh_convert.sources.model_types import ConcreteFunction, KerasModel, Tensor
from bokeh_convert.sources.options import SourceOptions, custom_object
from bokeh_convert.sources.security.graph import refuse_unknown_operators
from bokeh_runtime.errors import Argument, InputError
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
        path: The path that the user gave.
        files: All files of the model; they are hashed.
        format: "keras2-h5", "keras3-h5", "keras3-zip", "weights-h5", "saved-model" or
            "tf1-checkpoint".
        call: Function from the network input, a float tensor [1, height, width, channels] in
            [0, 1], to the model's outputs by name.
        height, width: Input size in pixels; None if the model does not fix it.
        channels: Input channels, 3 (RGB) or 4 (RGB + depth).
        options: How the model was read, and which output to use.
    """

    path: Path
    files: tuple[Path, ...]
    format: str
    call: Callable[[Tensor], Mapping[str, Tensor]]
    height: int | None
    width: int | None
    channels: int
    options: SourceOptions

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
                raise InputError(
                    f"{self.path}: its input size is fixed at {self.height} x {self.width} px",
                    remedy=("omit ", Argument("size")),
                )
        chosen: list[str] = []

        def infer(photo: Tensor) -> Tensor:
            outputs = self.call(photo)
            chosen[:] = [_choose(self.path, outputs, self.options, height)]
            return outputs[chosen[0]]

        spec = tf.TensorSpec([1, height, width, self.channels], tf.float32, name=INPUT_NAME)
        try:
            concrete: ConcreteFunction = tf.function(
                infer, input_signature=[spec], autograph=False
            ).get_concrete_function()
        except InputError:
            raise
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            cause = str(error).strip().splitlines()[-1]
            raise InputError(
                f"{self.path}: does not support an input of {height} x {width} px ({cause})",
                remedy=("try another ", Argument("size")),
            ) from error
        if not self.options.trust_source:
            refuse_unknown_operators(self.path, concrete.graph.as_graph_def())
        return SizedModel(self, height, width, chosen[0], concrete)


@dataclass(frozen=True)
class SizedModel:
    """A `FloatModel` for one input size.

    Attributes:
        model: The model.
        height, width: Input size in pixels.
        output_name: Name of the selected output in the source.
        concrete: The traced function of that output.
    """

    model: FloatModel
    height: int
    width: int
    output_name: str
    concrete: ConcreteFunction

    def run(self, image: FloatImage) -> FloatImage:
        """Runs the model.

        Args:
            image: Network input, float [height, width, channels] in [0, 1].

        Returns:
            Network output, float32 [h, w, 3] in about [0, 1], not clipped.
        """
        output = self.concrete(tf.constant(image[np.newaxis]))
        return np.asarray(output[0], np.float32)


def input_size(path: Path, shape: Sequence[int | None]) -> tuple[int | None, int | None, int]:
    """Returns height, width (None if not fixed) and channels of a network input.

    Args:
        path: The source, for error messages.
        shape: Shape of the input, [batch, height, width, channels].

    Raises:
        InputError: If the input is not an image with 3 or 4 channels.
    """
    if len(shape) != 4:
        raise InputError(
            f"{path}: the input has {len(shape)} dimensions; give a model whose input is "
            "[batch, height, width, channels]"
        )
    _, height, width, channels = shape
    if channels not in (3, 4):
        raise InputError(
            f"{path}: the input has {channels} channels; "
            "give a model with 3 (RGB) or 4 (RGB + depth)"
        )
    return height, width, channels


def keras_model(
    path: Path, file_format: str, model: KerasModel, options: SourceOptions
) -> FloatModel:
    """Wraps a model of Keras 2 or 3.

    Raises:
        InputError: If it does not have exactly one input, an image with 3 or 4 channels.
    """
    if len(model.inputs) != 1:
        raise InputError(
            f"{path}: has {len(model.inputs)} inputs; give a model with one image input"
        )
    height, width, channels = input_size(path, tuple(model.inputs[0].shape))

    def call(photo: Tensor) -> dict[str, Tensor]:
        outputs = model(photo, training=False)
        if isinstance(outputs, Mapping):
            return dict(outputs)
        # A Keras 3 Sequential has one output, without a name.
        names = getattr(model, "output_names", None) or [model.layers[-1].name]
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    return FloatModel(path, (path,), file_format, call, height, width, channels, options)


def _choose(path: Path, outputs: Mapping[str, Tensor], options: SourceOptions, height: int) -> str:
    """Returns the name of the selected output, by default of the largest image.

    Raises:
        InputError: If there is no such output, or more than one.
    """
    images = {
        name: output.shape
        for name, output in outputs.items()
        if output.shape.rank == 4 and output.shape[-1] == 3
    }
    if not images:
        raise InputError(
            f"{path}: has no output with 3 channels; give a model whose output is an RGB image"
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
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{path}: {library} cannot load it ({cause[0][:200]}); "
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
