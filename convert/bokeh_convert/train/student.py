"""Makes a student from a teacher's weights: fewer channels, factorized kernels, fewer blocks."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from bokeh_convert.pynet.layers import InstanceNormalization, SpaceToDepth
from bokeh_convert.train.teacher_outputs import Weights

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
_Kernel = npt.NDArray[np.float32]
_Channels = npt.NDArray[np.intp]


def initialize_from_teacher(student: keras.Model, teacher: Weights) -> int:
    """Starts a student where its teacher is, as far as it has layers of the same names.

    Of each layer, the channels with the largest filters are kept. A k x k kernel becomes a k x 1
    and a 1 x k one by its truncated singular value decomposition, which is the best approximation
    of that rank in the squared error of the kernel. Stacked kernels keep their random weights.

    Args:
        student: A PyNET with its initial weights, which are replaced.
        teacher: Weights as "layer/number", of a PyNET; of another model, nothing is used.

    Returns:
        Number of layers that were initialized.
    """
    return _Initializer(student, teacher).run()


def factorize(kernel: _Kernel, rank: int) -> tuple[_Kernel, _Kernel]:
    """Approximates a kernel by one along a column and one along a row.

    Args:
        kernel: float [k, k, inputs, outputs].
        rank: Channels between both, at most k * min(inputs, outputs).

    Returns:
        float [k, 1, inputs, rank] and float [1, k, rank, outputs].
    """
    rows, columns, inputs, outputs = kernel.shape
    matrix = kernel.transpose(0, 2, 1, 3).reshape(rows * inputs, columns * outputs)
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    column = (left[:, :rank] * root).reshape(rows, 1, inputs, rank)
    row = (root[:, None] * right[:rank]).reshape(rank, columns, outputs)
    return column.astype(np.float32), row.transpose(1, 0, 2)[None].astype(np.float32)


class _Initializer:
    """Goes through the layers, and knows which of the teacher's channels each tensor holds."""

    def __init__(self, student: keras.Model, teacher: Weights) -> None:
        self._student, self._teacher = student, teacher
        self._names = {layer.name for layer in student.layers}
        self._channels: dict[int, _Channels | None] = {}
        self._width: dict[int, int] = {}
        """Channels of the teacher's tensor, of which `_channels` are kept."""
        self._rows: dict[str, _Kernel] = {}
        self._count = 0

    def run(self) -> int:
        for layer in self._student.layers:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            known = [(self._channels.get(id(t)), self._width.get(id(t), 0)) for t in inputs]
            kept, width = self._layer(layer, known)
            self._channels[id(layer.output)], self._width[id(layer.output)] = kept, width
        return self._count

    def _layer(
        self, layer: Any, inputs: list[tuple[_Channels | None, int]]
    ) -> tuple[_Channels | None, int]:
        if isinstance(layer, (keras.layers.InputLayer, SpaceToDepth)):
            channels = layer.output.shape[-1]
            return np.arange(channels), channels
        kept, width = inputs[0]
        if isinstance(layer, keras.layers.Concatenate):
            return _joined(inputs)
        if isinstance(layer, InstanceNormalization):
            self._normalization(layer, kept)
        elif isinstance(layer, _CONVOLUTIONS) and kept is not None:
            if layer.name.endswith("_column"):
                self._column(layer, kept)
                return None, 0
            return self._convolution(layer, kept)
        elif isinstance(layer, _CONVOLUTIONS):
            return self._row(layer)
        return kept, width

    def _column(self, layer: Any, inputs: _Channels) -> None:
        base = layer.name.removesuffix("_column")
        kernel = self._teacher.get(f"{base}_conv/0")
        filters = self._student.get_layer(f"{base}_conv").filters
        if kernel is None or not _fits(kernel, layer.kernel.shape[0], inputs, filters):
            return
        kept = self._chosen(base, kernel[:, :, inputs], filters)
        column, row = factorize(kernel[:, :, inputs][..., kept], layer.filters)
        layer.set_weights([column])
        self._rows[base] = row
        self._channels[id(layer)] = kept

    def _row(self, layer: Any) -> tuple[_Channels | None, int]:
        base = layer.name.removesuffix("_conv")
        if base not in self._rows:
            return None, 0
        kept = self._channels[id(self._student.get_layer(f"{base}_column"))]
        bias = self._teacher[f"{layer.name}/1"]
        layer.set_weights([self._rows[base], bias[kept]])
        self._count += 1
        return kept, len(bias)

    def _convolution(self, layer: Any, inputs: _Channels) -> tuple[_Channels | None, int]:
        kernel = self._teacher.get(f"{layer.name}/0")
        if kernel is not None and isinstance(layer, keras.layers.Conv2DTranspose):
            kernel = kernel.transpose(0, 1, 3, 2)
        if kernel is None or not _fits(kernel, layer.kernel.shape[0], inputs, layer.filters):
            return None, 0
        kept = self._chosen(layer.name.removesuffix("_conv"), kernel[:, :, inputs], layer.filters)
        own = kernel[:, :, inputs][..., kept]
        if isinstance(layer, keras.layers.Conv2DTranspose):
            layer.set_weights([own.transpose(0, 1, 3, 2)])
        else:
            layer.set_weights([own, self._teacher[f"{layer.name}/1"][kept]])
        self._count += 1
        return kept, kernel.shape[-1]

    def _normalization(self, layer: Any, kept: _Channels | None) -> None:
        if kept is not None and f"{layer.name}/0" in self._teacher:
            layer.set_weights([self._teacher[f"{layer.name}/{number}"][kept] for number in (0, 1)])
            self._count += 1

    def _chosen(self, base: str, kernel: _Kernel, count: int) -> _Channels:
        """Returns the output channels to keep: in a block that adds its input, those of that."""
        outputs = kernel.shape[-1]
        block, _, branch = base.rpartition("_k")
        if branch.endswith("_2") and f"{block}_add" in self._names:
            _, source = self._student.get_layer(f"{block}_add").input
            first = outputs * (int(branch[0]) // 2 - 1)
            kept = self._channels[id(source)]
            if kept is not None:
                own = kept[(kept >= first) & (kept < first + outputs)] - first
                if len(own) == count:
                    return np.asarray(own)
        size = np.sqrt(np.square(kernel).sum(axis=(0, 1, 2)))
        scale = self._teacher.get(f"{base}_norm/1")
        size = np.abs(scale) if scale is not None else size
        return np.sort(np.argsort(-size, kind="stable")[:count])


def _fits(kernel: _Kernel, side: int, inputs: _Channels, filters: int) -> bool:
    return bool(
        kernel.shape[0] == side
        and filters <= kernel.shape[3]
        and int(inputs.max(initial=-1)) < kernel.shape[2]
    )


def _joined(inputs: list[tuple[_Channels | None, int]]) -> tuple[_Channels | None, int]:
    parts, first = [], 0
    for kept, width in inputs:
        if kept is None:
            return None, 0
        parts.append(kept + first)
        first += width
    return np.concatenate(parts), first
