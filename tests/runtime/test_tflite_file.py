from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bokeh_runtime import InputError
from bokeh_runtime.backends.interpreter import TfliteModel, installed_interpreters
from bokeh_runtime.tflite.file import read_tflite
from helpers.skips import ELSEWHERE

# Damages a file in many ways; what passes the check goes to the interpreter in a child process.
FUZZ = """
import os, random, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from bokeh_runtime.errors import InputError
from bokeh_runtime.backends.interpreter import TfliteModel
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.graph_choice import choose_graph, parse_size
import numpy as np

signature, size = (sys.argv[4:] + ["", ""])[:2]
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
refused = ran = 0
for seed in range(int(sys.argv[3])):
    draw, content = random.Random(seed), bytearray(whole)
    kind = draw.choice(["byte", "word", "cut"])
    if kind == "byte":
        content[draw.randrange(8, len(content))] = draw.randrange(256)
    elif kind == "word":
        at = draw.randrange(2, len(content) // 4) * 4
        content[at : at + 4] = draw.choice([b"\\xff" * 4, b"\\xff\\xff\\xff\\x7f", bytes(4)])
    else:
        content = content[: draw.randrange(8, len(content))]
    path.write_bytes(content)
    try:
        file = read_tflite(path)
        file = choose_graph(file, signature or None, parse_size(size) if size else None)
    except InputError:
        refused += 1
        continue
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            model = TfliteModel(file.content, threads=1, size=file.resized_to)
            model.run(np.zeros(model.input_shape, np.float32))
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        sys.exit(f"seed {seed} ({kind}) ended the process by signal {os.WTERMSIG(status)}")
    ran += 1
print(refused, ran)
"""


def test_the_structure_matches_the_interpreter(data: Path) -> None:
    file = read_tflite(data / "tiny_float16.tflite")
    model = TfliteModel(file.content)
    nodes = model.interpreter._get_ops_details()
    assert [operator.name for operator in file.operators] == [
        node["op_name"] for node in nodes[: len(file.operators)]
    ]
    assert [operator.inputs for operator in file.operators] == [
        tuple(node["inputs"]) for node in nodes[: len(file.operators)]
    ]
    details = {tensor["index"]: tensor for tensor in model.interpreter.get_tensor_details()}
    for index, tensor in enumerate(file.tensors):
        assert tensor.name == details[index]["name"]
        assert tensor.shape == tuple(details[index]["shape"])


def test_the_quantization_matches_the_interpreter(data: Path) -> None:
    file = read_tflite(data / "tiny_integer.tflite")
    entry = TfliteModel(file.content).interpreter.get_input_details()[0]
    assert file.tensors[file.inputs[0]].dtype == "int8"
    assert file.tensors[file.inputs[0]].quantization == pytest.approx(entry["quantization"])


@pytest.mark.parametrize("length", [8, 40, 1000, 9000, 16000])
def test_a_truncated_file_is_refused(length: int, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((data / "tiny_float16.tflite").read_bytes()[:length])
    with pytest.raises(InputError, match=r"cut.tflite: damaged .tflite file"):
        read_tflite(path)


@pytest.mark.slow
@pytest.mark.skipif(
    "ai-edge-litert" not in installed_interpreters(), reason=f"{ELSEWHERE}2.14 has no more releases"
)
@pytest.mark.parametrize(
    "name_and_choice",
    [
        ("tiny_float16",),
        ("tiny_integer",),
        ("foreign/three_signatures", "enhance"),
        ("foreign/open_x2", "", "48x72"),
        ("foreign/open_skip", "", "32x48"),
    ],
    ids=lambda given: given[0],
)
def test_no_damage_crashes_the_process(
    name_and_choice: tuple[str, ...], data: Path, tmp_path: Path
) -> None:
    name, *choice = name_and_choice
    paths = (data / f"{name}.tflite", tmp_path / "damaged.tflite")
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, *paths, "300", *choice],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, ran = map(int, done.stdout.split())
    assert refused > 100
    assert ran > 30
