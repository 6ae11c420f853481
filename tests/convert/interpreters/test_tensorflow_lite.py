"""Our files in the interpreter of older apps, TensorFlow Lite 2.16.1, beside LiteRT's.

It is in an environment of its own, `make .venv-tensorflow-2.16/ready`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import bokeh_runtime
from bokeh_convert import convert
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_runtime.backends.interpreter import from_tensor, to_tensor
from bokeh_runtime.metrics.psnr import psnr
from helpers.skips import ELSEWHERE

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-tensorflow-2.16/bin/python"
BUNDLED = sorted((Path(bokeh_runtime.__file__).parent / "models").glob("*.tflite"))
# Schemes whose files it does not run, with the reason.
DOES_NOT_RUN: dict[str, str] = {}
# Lowest PSNR in dB between the outputs of the two interpreters. Their kernels round the integers of
# a layer differently, and the deep bundled network amplifies that.
MIN_PSNR_DB = {
    "float32": 120,
    "float16": 120,
    "dynamic": 60,
    "int8": 60,
    "int16x8": 80,
    "full-integer": 50,
    "demo_pynet_float16.tflite": 120,
    "demo_pynet_int8.tflite": 45,
    "demo_student_int8.tflite": 50,
}


@dataclass(frozen=True)
class Ran:
    """What both interpreters made of one input; outputs are float32 in about [0, 1]."""

    litert: np.ndarray
    tensorflow: np.ndarray
    parts_on_xnnpack: int


def runs_in_litert(path: Path, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple]:
    """The input tensor, the output tensor, and how the output is quantized."""
    interpreter = Interpreter(model_path=str(path), num_threads=2)
    interpreter.allocate_tensors()
    entry, output = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    image = image[: entry["shape"][1], : entry["shape"][2]]
    tensor = to_tensor(image, entry["dtype"], entry["quantization"])[None]
    interpreter.set_tensor(entry["index"], tensor)
    interpreter.invoke()
    return tensor, interpreter.get_tensor(output["index"]), output["quantization"]


@pytest.fixture(scope="module")
def ran(small_keras: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Each bundled file by its name, and a file of each scheme by the scheme's name."""
    if sys.version_info >= (3, 13):
        pytest.skip(f"{ELSEWHERE}TensorFlow 2.16.1 has no build for this Python")
    if not PYTHON.exists():
        pytest.skip("no TensorFlow 2.16.1 (make .venv-tensorflow-2.16/ready)")
    folder = tmp_path_factory.mktemp("interpreters")
    quant = [scheme for scheme in SCHEMES if scheme not in DOES_NOT_RUN]
    made = convert(small_keras, quant=quant, size=(32, 64), output_dir=folder, samples=8)
    files = {path.name: path for path in BUNDLED}
    files.update({one.report.scheme: one.path for one in made})
    rows, columns = np.mgrid[0:256, 0:384].astype(np.float32)
    waves = np.sin(rows / 7) * np.cos(columns / 11)
    image = np.dstack([0.5 + 0.4 * waves, 0.5 - 0.3 * waves, rows / 256]).astype(np.float32)
    litert = {name: runs_in_litert(path, image) for name, path in files.items()}
    np.savez(
        folder / "in.npz", **{str(files[name]): tensor for name, (tensor, *_) in litert.items()}
    )
    script = Path(__file__).with_name("run_files.py")
    done = subprocess.run(
        [PYTHON, "-I", script, folder / "in.npz", folder / "out.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["version"] == "2.16.1"
    with np.load(folder / "out.npz") as outputs:
        return {
            name: Ran(
                from_tensor(output, quantization)[0],
                from_tensor(outputs[str(files[name])], quantization)[0],
                answer["parts"][str(files[name])],
            )
            for name, (_, output, quantization) in litert.items()
        }


def test_every_scheme_and_bundled_file_is_compared() -> None:
    compared = {*SCHEMES, *(path.name for path in BUNDLED)} - DOES_NOT_RUN.keys()
    assert compared == MIN_PSNR_DB.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", MIN_PSNR_DB)
def test_the_output_is_that_of_litert_with_xnnpack(ran: dict[str, Ran], name: str) -> None:
    found = ran[name]
    assert found.parts_on_xnnpack > 0
    assert found.litert.std() > 0.05
    assert psnr(found.tensorflow, found.litert, border_px=0) > MIN_PSNR_DB[name]
