from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import InputError, TfliteModel, read_metadata
from bokeh_runtime.backends import gpu_check
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.reference_pack import load_reference, save_reference


@pytest.fixture
def drawn_by_keras(data: Path):
    with np.load(data / "keras2_moments.npz") as file:
        return file["photo"][0], file["bokeh"][0]


@pytest.mark.parametrize(("name", "tolerance"), [("tiny_float16", 0.002), ("tiny_integer", 0.06)])
def test_a_file_gives_the_output_of_keras(
    name: str, tolerance: float, data: Path, drawn_by_keras
) -> None:
    photo, expected = drawn_by_keras
    model = TfliteModel((data / f"{name}.tflite").read_bytes(), threads=1)
    assert model.input_shape == photo.shape
    np.testing.assert_allclose(model.run(photo), expected, atol=tolerance)


def test_metadata_is_read_from_the_file(data: Path) -> None:
    metadata = read_metadata(data / "tiny_float16.tflite")
    assert (metadata.input_height, metadata.input_width) == (64, 96)
    assert metadata.input_channels == "rgb"
    assert metadata.value_range == (0.0, 1.0)
    assert metadata.scheme == "float16"
    assert metadata.source["file"] == "keras2_moments.h5"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot be read"),
        (b"", "not a .tflite file"),
        (b"PK\3\4 something else", "not a .tflite file"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    content: bytes | None, cause: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(InputError, match=cause):
        read_metadata(tmp_path / "model.tflite")


def test_a_file_of_another_tool_has_no_metadata(data: Path) -> None:
    with pytest.raises(InputError, match="no metadata entry 'bokeh_tflite'"):
        read_metadata(data / "tiny_integer.tflite")


def test_the_runtime_needs_neither_tensorflow_nor_keras(data: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf_keras', 'h5py', 'litert_quantizer', 'skimage'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from bokeh_runtime import TfliteModel\n"
        "model = TfliteModel(Path(sys.argv[1]).read_bytes())\n"
        "print(model.run(np.zeros(model.input_shape, np.float32)).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, data / "tiny_float16.tflite"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(64, 96, 3)", done.stderr


@pytest.mark.parametrize("same", [True, False])
def test_a_gpu_is_not_compared_with_the_reference_of_another_model(
    same: bool, data: Path, tmp_path: Path
) -> None:
    for name in ("small_float32.tflite", "small.reference.npz"):
        shutil.copy(data / name, tmp_path)
    pack = tmp_path / "small.reference.npz"
    if not same:
        save_reference(pack, replace(load_reference(pack), source_sha256="0" * 64))
    image, full = gpu_check._picture(read_tflite(tmp_path / "small_float32.tflite"))
    assert image.shape[2] == 3
    assert (full is not None) == same
