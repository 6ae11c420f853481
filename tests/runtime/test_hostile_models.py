"""Hostile `.tflite` files and reference packs give an error of one line, or run."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_runtime import InputError
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.errors import HardwareError, printable
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.tflite.file import TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import ENTRY, metadata_of
from bokeh_runtime.tflite.reference_pack import load_reference


def _as_custom(content: bytes, name: bytes) -> bytes:
    """Returns the file with its first operator code changed into a custom one.

    By hand: LiteRT's tools that edit a file are not where the runtime's tests run. What is added
    stands at the end of the file: an OperatorCode table, its name and its list of fields.
    """
    data = bytearray(content)

    def at(where: int, layout: str = "<I") -> int:
        return int(struct.unpack_from(layout, data, where)[0])

    model = at(0)
    fields = model - at(model, "<i")
    vector = model + at(fields + 4 + 2 * 1, "<H")  # operator_codes
    first = vector + at(vector) + 4
    data += bytes(-len(data) % 4)
    start = len(data)
    text = name + bytes(4 - len(name) % 4)
    # Fields: deprecated_builtin_code, custom_code, version, builtin_code.
    data += struct.pack("<HHHHHH", 12, 20, 4, 8, 12, 16)
    table = len(data)
    data += struct.pack("<ibxxxIii", table - start, 32, 12, 1, 32)
    data += struct.pack("<I", len(name)) + text
    data[first : first + 4] = struct.pack("<I", table - first)
    return bytes(data)


@pytest.mark.parametrize("name", ["FlexWriteFile", "Flex", "DISPATCH_OP", "anybodys", "\x1b[2J"])
def test_a_custom_operator_is_refused(name: str, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "custom.tflite"
    path.write_bytes(_as_custom((data / "tiny_float16.tflite").read_bytes(), name.encode()))
    file = read_tflite(path)
    assert printable(name) in {operator.name for operator in file.operators}
    with pytest.raises((InputError, HardwareError)) as refusal:
        open_engine(file, EngineOptions("cpu", 1))
    assert str(refusal.value).startswith(str(path))
    assert str(refusal.value).isprintable()


def _entry(data: Path, change: Callable[[dict[str, Any]], Any]) -> TfliteFile:
    file = read_tflite(data / "small_float16.tflite")
    values = json.loads(file.metadata[ENTRY])
    changed = change(values)
    text = changed if isinstance(changed, bytes) else json.dumps(values).encode()
    return TfliteFile(
        file.path, file.content, file.tensors, file.operators, file.inputs, file.outputs,
        {ENTRY: text},
    )  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(input_channels=["rgb"]),
        lambda values: values.update(input_height="64"),
        lambda values: values.update(value_range=[0]),
        lambda values: values.update(value_range=["0", 1]),
        lambda values: values.update(value_range=7),
        lambda values: values.update(output_scale=float("nan")),
        lambda values: values.update(output_scale=None),
        lambda values: values.update(scheme=5),
        lambda values: values.update(scheme="\x1b[2J"),
        lambda values: values.update(source=[]),
        lambda values: values.update(tools={"keras": 3}),
        lambda values: values.update(fidelity=1),
        lambda values: values.pop("resampling"),
        lambda values: b"[" * 200_000,
        lambda values: b"[]",
        lambda values: b"\xff\xfe",
        lambda values: b"",
    ],
)
def test_invalid_metadata_is_refused(change, data: Path) -> None:
    with pytest.raises(InputError, match=r"small_float16\.tflite: ") as refusal:
        metadata_of(_entry(data, change))
    assert str(refusal.value).isprintable()


def _pack(path: Path, **changed: Any) -> None:
    arrays = {
        "names": np.array(["a"]), "inputs": np.zeros((1, 2, 2, 3), np.uint8),
        "outputs": np.zeros((1, 2, 2, 3), np.float32), "source_sha256": np.array(""),
    }  # fmt: skip
    np.savez_compressed(path, **{**arrays, **changed})


def _damaged(path: Path) -> None:
    _pack(path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("inputs.npy").header_offset
    content[at + 50 : at + 90] = bytes(40)
    path.write_bytes(content)


def _endless(path: Path) -> None:
    """Its header asks for more memory than there is."""
    _pack(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    whole = parts["inputs.npy"]
    parts["inputs.npy"] = whole.replace(b"(1, 2, 2, 3), }", b"(1, 99999999, 99999999, 3), }")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


class _Code:
    def __reduce__(self):
        return print, ("was run",)


@pytest.mark.parametrize(
    "make",
    [
        _damaged,
        _endless,
        lambda path: _pack(path, inputs=np.array([_Code()], dtype=object)),
        lambda path: _pack(path, inputs=np.zeros((1, 2, 2, 3), np.float64)),
        lambda path: _pack(path, outputs=np.array(["x"])),
        lambda path: _pack(path, outputs=np.zeros((2, 2, 2, 3), np.float32)),
        lambda path: _pack(path, names=np.array(["a", "b"])),
    ],
)
def test_an_invalid_reference_pack_is_refused(
    make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.reference.npz"
    make(path)
    with pytest.raises(InputError, match="is not a reference pack"):
        load_reference(path)
    assert "was run" not in capsys.readouterr().out


def test_a_depth_map_of_endless_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pfm").write_bytes(b"Pf " + b"9" * 5000 + b" 9 -1.0\n")
    with pytest.raises(InputError, match="not a PFM file"):
        open_depth(tmp_path / "x.pfm")


def test_control_characters_of_a_file_are_escaped(data: Path) -> None:
    error = InputError("model.tflite: \x1b]0;owned\x07 \n\rsecond\tline \u202e ü 写真")
    assert str(error) == (r"model.tflite: \x1b]0;owned\x07 \n\rsecond\tline \u202e ü 写真")
    assert str(HardwareError("\x1b[2J")) == r"\x1b[2J"


def test_a_valid_file_runs(data: Path) -> None:
    """What the damaged ones above are made from."""
    assert metadata_of(_entry(data, lambda values: None)) is not None
    model = TfliteModel(read_tflite(data / "tiny_float16.tflite").content)
    assert np.isfinite(model.run(np.zeros(model.input_shape, np.float32))).all()
