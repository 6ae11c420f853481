"""Files of other kinds: each message names what leads from them to a source."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.sources import read_model
from bokeh_runtime import InputError

TFLITE = Path(__file__).parents[2] / "data/small_float16.tflite"


def torch_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps([1]))
        archive.writestr("model/data/0", b"\0" * 8)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("frozen.pb", lambda p: p.write_bytes(b"\n\x0b\n\x05photo"), "import_graph_def"),
        ("model.onnx", lambda p: p.write_bytes(b"\x08\x07\x12\x07pytorch"), "onnx2tf"),
        ("model.pth", torch_file, "PyTorch file; export it to ONNX"),
        ("renamed.h5", torch_file, "PyTorch file; export it to ONNX"),
        ("old.pt", lambda p: p.write_bytes(pickle.dumps({1: 2})), "a pickle, .*ONNX"),
        ("model.tflite", lambda p: p.write_bytes(TFLITE.read_bytes()), "bokeh-render or"),
        ("renamed.keras", lambda p: p.write_bytes(TFLITE.read_bytes()), "converted already"),
        ("weights.npz", lambda p: np.savez(p, a=np.ones(3)), "NumPy arrays; load them"),
        ("model.json", lambda p: p.write_text("{}"), "holds no weights"),
        ("net.ckpt-9.meta", lambda p: p.write_bytes(b"x"), r"net\.ckpt-9\.index is not beside it"),
        (
            "net.ckpt-9.data-00000-of-00001",
            lambda p: p.write_bytes(b"x"),
            r"net\.ckpt-9\.index is not beside it",
        ),
    ],
)
def test_a_model_of_another_kind_gets_the_way_to_a_source(
    name: str, write: object, message: str, tmp_path: Path
) -> None:
    assert callable(write)
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_model(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_part_of_a_saved_model_names_its_folder(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    path = tmp_path / "saved" / "saved_model.pb"
    path.write_bytes(b"\x08\x01\x12\x02")
    with pytest.raises(InputError, match=f"give its folder, {tmp_path / 'saved'}"):
        read_model(path)
