"""Chooses what of a .tflite file runs: one of its signatures, and the size of an open input."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import replace

from bokeh_runtime.errors import Argument, InputError
from bokeh_runtime.tflite.file import Signature, TfliteFile, parse_tflite
from bokeh_runtime.tflite.flatbuffer import Table, read_number

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_MAX_PX = 2**24  # A network with 32 channels then needs 2 GB for one tensor.
_EXAMPLE = Argument("size", (256, 384), typed="256x384")
# Field numbers of `Model` in schema.fbs.
_SUBGRAPHS, _SIGNATURES = 2, 7


def parse_size(text: str) -> tuple[int, int]:
    """Reads a size written as "HxW", such as "256x384".

    Raises:
        InputError: If the text is no such size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InputError(f"size '{text}': write it as HEIGHTxWIDTH in pixels, such as 256x384")
    return int(found[1]), int(found[2])


def choose_graph(
    file: TfliteFile, signature: str | None = None, size: tuple[int, int] | None = None
) -> TfliteFile:
    """Returns a file whose first subgraph is the one to run, with an input of a known size.

    Args:
        file: The file. One that this function returned is returned as it is.
        signature: Name of the signature to run. None takes the only one, or the first subgraph of
            a file without signatures.
        size: Height and width in pixels of an input whose size is open. None takes the size that
            the file gives.

    Raises:
        InputError: If the file has no such signature, has several and none is named, the
            signature computes nothing, the size is open and not given, or the size is given and
            differs from that of the file.
    """
    return _sized(_selected(file, signature), size)


def _selected(file: TfliteFile, name: str | None) -> TfliteFile:
    if file.signature and name in (None, file.signature):
        return file
    signature = _find(file, name)
    if signature is not None and (signature.subgraph != 0 or len(file.signatures) > 1):
        file = _with_signature(file, signature)
    if not file.operators or set(file.outputs) <= set(file.inputs):
        if not file.signature:
            raise InputError(
                f"{file.path}: computes nothing, its output is its input; give a network"
            )
        raise InputError(
            f"{file.path}: its signature '{file.signature}' computes nothing, it only passes its "
            "input through",
            remedy=("give another ", Argument("signature")),
        )
    return file


def _find(file: TfliteFile, name: str | None) -> Signature | None:
    """Returns the signature to run; None for the first subgraph."""
    names = _joined([signature.name for signature in file.signatures])
    if name is not None:
        for signature in file.signatures:
            if signature.name == name:
                return signature
        has = f"it has {names}" if file.signatures else "it has none"
        raise InputError(Argument("signature", name), f": {file.path} has no such signature; {has}")
    if len({signature.subgraph for signature in file.signatures}) > 1:
        raise InputError(
            f"{file.path}: has several signatures, {names}",
            remedy=("choose one with ", Argument("signature")),
        )
    return file.signatures[0] if file.signatures else None


def _with_signature(file: TfliteFile, signature: Signature) -> TfliteFile:
    """Returns the file with the signature's subgraph in the first place, and no signatures.

    Interpreters and accelerators run the first subgraph, or the first signature, so this works with
    all of them. Other subgraphs keep their indices, which operators such as WHILE refer to.
    """
    content = bytearray(file.content)
    model = Table(file.content, read_number("<I", file.content, 0))
    entries, _ = model.vector(_SUBGRAPHS, 4)
    first, chosen = entries, entries + 4 * signature.subgraph
    tables = [entry + read_number("<I", file.content, entry) for entry in (first, chosen)]
    try:
        for entry, table in zip((chosen, first), tables, strict=True):
            struct.pack_into("<I", content, entry, table - entry)  # an offset from its own place
    except struct.error as error:
        raise InputError(
            f"{file.path}: damaged .tflite file (a subgraph is before the list of subgraphs); copy "
            "or convert it again"
        ) from error
    names, _ = model.vector(_SIGNATURES, 4)
    struct.pack_into("<I", content, names - 4, 0)  # their number is before them
    return replace(parse_tflite(file.path, bytes(content)), signature=signature.name)


def _sized(file: TfliteFile, size: tuple[int, int] | None) -> TfliteFile:
    index = file.inputs[0]
    tensor = file.tensors[index]
    if len(file.inputs) != 1 or len(tensor.shape) != 4:
        return file  # not an image-to-image network, which `model.input_image_shape` says
    own = (tensor.shape[1], tensor.shape[2])
    are_open = (tensor.is_open(1), tensor.is_open(2))
    if size is None:
        if any(n == 1 and is_open for n, is_open in zip(own, are_open, strict=True)):
            raise InputError(
                f"{file.path}: its input size is open ({_shape(tensor.shape_signature)})",
                remedy=("give the height and width to run it at, such as ", _EXAMPLE),
            )
        return file
    if min(size) < 1 or size[0] * size[1] > _MAX_PX:
        raise InputError(
            Argument("size", size, typed=_text(size)),
            f": must be at least 1x1 and at most {_MAX_PX} pixels",
        )
    if size == own:
        return file
    if not all(is_open or n == m for n, m, is_open in zip(own, size, are_open, strict=True)):
        takes = _shape(tensor.shape_signature or tensor.shape)
        raise InputError(
            f"{file.path}: its input size is fixed ({takes}), not {_text(size)}",
            remedy=("omit ", Argument("size")) if not any(are_open) else ("give another",),
        )
    resized = replace(tensor, shape=(tensor.shape[0], *size, tensor.shape[3]))
    tensors = [resized if i == index else one for i, one in enumerate(file.tensors)]
    return replace(file, tensors=tensors, resized_to=size)


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names)


def _text(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join('?' if n == -1 else str(n) for n in shape)}]"
