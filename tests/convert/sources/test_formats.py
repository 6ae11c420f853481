"""How the format of a source is told; that each reader works is in `test_read.py` and others."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from bokeh_convert.sources import formats, other_formats
from bokeh_convert.sources.formats import SourcePath, source_formats
from bokeh_runtime import InputError
from helpers.added_module import added_module


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0]


def _keras(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")


def _saved_model(path: Path) -> None:
    path.mkdir()
    (path / "saved_model.pb").touch()


def _checkpoint(path: Path) -> None:
    for part in ("index", "meta", "data-00000-of-00001"):
        path.with_name(f"{path.name}.{part}").touch()


def _archive(*names: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "")

    return make


def recognized(path: Path) -> list[str]:
    """The last part of the names of all modules that recognize a source."""
    source = SourcePath.at(path)
    return [found.__name__.split(".")[-1] for found in source_formats() if found.recognizes(source)]


@pytest.mark.parametrize("suffix", ["", ".h5", ".keras", ".onnx", ".pb", ".data"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (_hdf5, "hdf5"),
        (_keras, "keras_zip"),
        (_saved_model, "saved_model"),
        (_checkpoint, "checkpoint"),
    ],
)
def test_one_format_recognizes_a_source_whatever_its_name_is(
    make: Callable[[Path], None], name: str, suffix: str, tmp_path: Path
) -> None:
    make(tmp_path / f"model{suffix}")
    assert recognized(tmp_path / f"model{suffix}") == [name]


@pytest.mark.parametrize("part", ["index", "meta", "data-00000-of-00001"])
def test_a_part_of_a_checkpoint_stands_for_it(part: str, tmp_path: Path) -> None:
    _checkpoint(tmp_path / "model")
    assert recognized(tmp_path / f"model.{part}") == ["checkpoint"]
    (tmp_path / "model.index").unlink()
    assert recognized(tmp_path / "model.meta") == []


def test_a_file_beside_a_checkpoint_of_its_name_is_read_itself(tmp_path: Path) -> None:
    _checkpoint(tmp_path / "model.h5")
    _hdf5(tmp_path / "model.h5")
    assert recognized(tmp_path / "model.h5") == ["hdf5"]


@pytest.mark.parametrize(
    ("make", "name", "cause"),
    [
        (_archive("letter.txt"), "model.keras", "the archive has no Keras model"),
        (_archive("letter.txt"), "model.onnx", "is an ONNX file"),
        (_archive("model/data.pkl"), "model.keras", "is a PyTorch file"),
        (_archive("a.npy", "b.npy"), "model.keras", "holds NumPy arrays"),
        (lambda path: path.write_bytes(b"PK\3\4 and no more"), "model.h5", "truncated or damaged"),
        (lambda path: path.write_bytes(b"\0\0\0\0TFL3"), "model.h5", "is a .tflite file"),
    ],
)
def test_other_files_are_recognized_by_none_and_named(
    make: Callable[[Path], None], name: str, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    assert recognized(path) == []
    with pytest.raises(InputError, match=cause):
        other_formats.refuse_other_formats(path, SourcePath.at(path).start)


def test_nothing_and_an_empty_file_are_recognized_by_none(tmp_path: Path) -> None:
    (tmp_path / "empty.h5").touch()
    assert recognized(tmp_path / "empty.h5") == recognized(tmp_path / "none") == []


def test_a_module_that_lacks_a_function_is_named(tmp_path: Path) -> None:
    source = "def recognizes(source):\n    return False\n"
    with (
        added_module(formats, "half", source, tmp_path) as name,
        pytest.raises(TypeError, match=name),
    ):
        source_formats()
