"""Files of other tools: open sizes, several signatures, other value ranges, one channel.

`tests/data/write_foreign.py` writes them. What is right is what the interpreter gives for the
values that each network was made for.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_runtime import BokehModel, HardwareError, InputError
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.backends.interpreter import INTERPRETERS, installed_interpreters
from bokeh_runtime.imaging.luminance import luminance, with_chroma
from bokeh_runtime.render import RenderOptions
from bokeh_runtime.render_jobs import Job
from bokeh_runtime.render_record import result_provenance
from bokeh_runtime.tflite.file import parse_tflite, read_tflite
from bokeh_runtime.tflite.flatbuffer import Table, read_number
from bokeh_runtime.tflite.graph_choice import choose_graph, parse_size
from helpers import commands

SIZE = (48, 72)


@pytest.fixture
def foreign(data: Path) -> Path:
    return data / "foreign"


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    """A photo of the networks' size, uint8 [48, 72, 3]."""
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    waves = [np.sin(rows / (5 + i)) * np.cos(columns / (4 + i)) for i in range(3)]
    image = 128 + 110 * np.dstack(waves) + rng.normal(0, 3, (*SIZE, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def interpreter(path: Path) -> Any:
    module = importlib.import_module(INTERPRETERS[installed_interpreters()[0]])
    return module.Interpreter(model_path=str(path))


def direct(path: Path, values: np.ndarray) -> np.ndarray:
    """The output of the interpreter for values as they are, without this project's code."""
    model = interpreter(path)
    (entry,) = model.get_input_details()
    if tuple(entry["shape"]) != (1, *values.shape):
        model.resize_tensor_input(entry["index"], [1, *values.shape])
    model.allocate_tensors()
    model.set_tensor(entry["index"], values[None].astype(entry["dtype"]))
    model.invoke()
    return model.get_tensor(model.get_output_details()[0]["index"])[0]


def rendered(path: Path, photo: np.ndarray, **options: Any) -> np.ndarray:
    with BokehModel.open(path, "cpu", threads=1, **options) as model:
        return model.render(photo, network_resolution=True).pixels / 255


def close_to(actual: np.ndarray, expected: np.ndarray, levels: float = 0.6) -> None:
    np.testing.assert_allclose(actual, np.clip(expected, 0, 1), atol=levels / 255)


@pytest.mark.parametrize("size", [(48, 72), (30, 50)])
def test_an_open_size_is_resized(foreign: Path, photo: np.ndarray, size: tuple[int, int]) -> None:
    path = foreign / "open_x2.tflite"
    photo = np.ascontiguousarray(photo[: size[0], : size[1]])
    expected = direct(path, photo / np.float32(255))
    assert expected.shape == (2 * size[0], 2 * size[1], 3)
    close_to(rendered(path, photo, size=size), expected)
    with BokehModel.open(path, "cpu", size=size) as model:
        assert f"{path}: its input is resized to {size[0]} x {size[1]}" in model.notes
        assert model.render(photo).pixels.shape == photo.shape
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_open_size_must_be_given(foreign: Path) -> None:
    said = r"open_x2\.tflite: its input size is open \(\[1, \?, \?, 3\]\); give the height and "
    with pytest.raises(InputError, match=said):
        BokehModel.open(foreign / "open_x2.tflite", "cpu")
    with pytest.raises(InputError, match=said):
        open_engine(read_tflite(foreign / "open_x2.tflite"), EngineOptions("cpu"))


@pytest.mark.parametrize("size", [(47, 72), (48, 71)])
def test_a_size_that_the_graph_does_not_take_names_the_operator(
    foreign: Path, size: tuple[int, int]
) -> None:
    said = rf"open_skip\.tflite: its operator CONCATENATION does not take an input of {size[0]} x "
    with pytest.raises(InputError, match=said):
        BokehModel.open(foreign / "open_skip.tflite", "cpu", size=size)


@pytest.mark.parametrize("size", [(0, 72), (5000, 5000)])
def test_a_size_out_of_bounds_is_refused(foreign: Path, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"must be at least 1x1 and at most 16777216 pixels"):
        BokehModel.open(foreign / "open_x2.tflite", "cpu", size=size)


def test_a_fixed_size_may_be_given_and_not_changed(foreign: Path, photo: np.ndarray) -> None:
    path = foreign / "luminance.tflite"
    np.testing.assert_array_equal(rendered(path, photo, size=SIZE), rendered(path, photo))
    with pytest.raises(InputError, match=r"size is fixed \(\[1, 48, 72, 1\]\), not 48x96; omit"):
        BokehModel.open(path, "cpu", size=(48, 96))


@pytest.mark.parametrize("delegate", ["gpu", "npu"])
def test_accelerators_do_not_resize(foreign: Path, delegate: str) -> None:
    if installed_interpreters()[0] != "ai-edge-litert":
        pytest.skip("elsewhere: it has no accelerators")
    with pytest.raises(HardwareError, match=rf"{delegate}: .* do not resize it; use .*'cpu'"):
        BokehModel.open(foreign / "open_x2.tflite", delegate, size=SIZE)


def test_auto_resizes_on_the_cpu(foreign: Path) -> None:
    with BokehModel.open(foreign / "open_x2.tflite", size=SIZE) as model:
        assert model.placement.delegate == "cpu"


@pytest.mark.parametrize("text", ["", "48", "48,72", "ax2", "-1x5", "123456x1"])
def test_a_size_is_written_with_an_x(text: str) -> None:
    assert parse_size("48x72") == SIZE
    with pytest.raises(InputError, match="256x384"):
        parse_size(text)


@pytest.mark.parametrize("name", ["enhance", "brighten"])
def test_a_signature_is_chosen(foreign: Path, photo: np.ndarray, name: str) -> None:
    path = foreign / "three_signatures.tflite"
    runner = interpreter(path).get_signature_runner(name)
    expected = runner(image=(photo / np.float32(255))[None])["result"][0]
    close_to(rendered(path, photo, signature=name), expected)
    with BokehModel.open(path, "cpu", signature=name) as model:
        assert model.signature == name
        assert model.placement.total_ops > 0
        assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_signatures_are_named_if_none_is_chosen(foreign: Path) -> None:
    path = foreign / "three_signatures.tflite"
    names = "a_passthrough and brighten and enhance"
    with pytest.raises(InputError, match=f"has several signatures, {names}; choose one with sig"):
        open_engine(read_tflite(path), EngineOptions("cpu"))
    with pytest.raises(InputError, match=f"has no such signature; it has {names}"):
        BokehModel.open(path, "cpu", signature="bokeh")
    with pytest.raises(InputError, match="has no such signature; it has"):
        BokehModel.open(foreign / "luminance.tflite", "cpu", signature="bokeh")


def test_a_signature_that_computes_nothing_is_refused(foreign: Path) -> None:
    with pytest.raises(InputError, match="'a_passthrough' computes nothing, it only passes its"):
        BokehModel.open(foreign / "three_signatures.tflite", "cpu", signature="a_passthrough")


def test_a_chosen_graph_stays_chosen(foreign: Path) -> None:
    file = choose_graph(read_tflite(foreign / "three_signatures.tflite"), "enhance")
    assert choose_graph(file, "enhance") is file
    assert choose_graph(file) is file
    resized = choose_graph(read_tflite(foreign / "open_x2.tflite"), size=SIZE)
    assert choose_graph(resized, size=SIZE) is resized


def test_uint8_with_a_scale_of_1_takes_bytes(foreign: Path, photo: np.ndarray) -> None:
    path = foreign / "uint8_bytes.tflite"
    scale, zero = read_tflite(path).tensors[read_tflite(path).outputs[0]].quantization
    expected = (direct(path, photo).astype(np.float32) - zero) * scale / 255
    close_to(rendered(path, photo), expected)
    assert 0.2 < expected.mean() < 0.8


def test_int8_of_minus_1_to_1(foreign: Path, photo: np.ndarray) -> None:
    path = foreign / "int8_signed.tflite"
    file = read_tflite(path)
    scale, zero = file.tensors[file.inputs[0]].quantization
    fed = np.clip(np.round((photo / 127.5 - 1) / scale) + zero, -128, 127)
    scale, zero = file.tensors[file.outputs[0]].quantization
    expected = ((direct(path, fed).astype(np.float32) - zero) * scale + 1) / 2
    # A step of its own int8 (1/128) where a rounding of the input differs, and one of 255.
    close_to(rendered(path, photo), expected, levels=3.1)
    assert 0.2 < expected.mean() < 0.8


def test_floats_of_0_to_255_need_their_range_and_are_noted_without(
    foreign: Path, photo: np.ndarray
) -> None:
    path, ranges = foreign / "float_bytes.tflite", {"input_range": "0..255"}
    ranges["output_range"] = "0..255"
    close_to(rendered(path, photo, **ranges), direct(path, photo) / 255)
    with BokehModel.open(path, "cpu") as model:
        (note,) = model.render(photo).notes
        assert note.startswith("the output is nearly constant")
        assert "--input-range" in note
        # Nothing can be said of a photo without contrast.
        assert model.render(np.full_like(photo, 200)).notes == ()
    with BokehModel.open(path, "cpu", **ranges) as model:
        assert model.render(photo).notes == ()


def test_files_of_bokeh_convert_are_not_noted(data: Path, photo: np.ndarray) -> None:
    with BokehModel.open(data / "range_bytes.tflite", "cpu", input_range="0..1") as model:
        assert model.render(photo).notes == ()


def test_one_channel_is_luminance(foreign: Path, photo: np.ndarray) -> None:
    path, image = foreign / "luminance.tflite", photo / np.float32(255)
    expected = direct(path, luminance(image))
    assert expected.shape == (*SIZE, 1)
    close_to(rendered(path, photo), with_chroma(np.clip(expected, 0, 1), image))


@pytest.mark.slow
def test_the_command_has_the_options(foreign: Path, data: Path, tmp_path: Path, scene) -> None:
    from bokeh_runtime import write_photo
    from bokeh_runtime.imaging.photo import Photo

    write_photo(tmp_path / "a.png", Photo(scene))

    def render(name: str, *options: str) -> tuple[int, str]:
        path = foreign / f"{name}.tflite"
        done = commands.command(
            "bokeh-render", "a.png", "-o", "b.png", "-dcpu", "-m", path, *options, cwd=tmp_path
        )
        return done.returncode, done.stderr

    code, said = render("open_x2")
    assert (code, said.count("\n")) == (2, 1)
    assert said.endswith("give the height and width to run it at, such as --size 256x384\n")
    code, said = render("three_signatures")
    assert (code, said.count("\n")) == (2, 1)
    assert "choose one with --signature" in said
    code, said = render("open_x2", "--size", "48x72")
    assert code == 0
    assert "its input is resized to 48 x 72" in said
    assert render("three_signatures", "--signature", "enhance")[0] == 0


def test_a_folder_is_rendered_again_for_another_size_signature_or_range(foreign: Path) -> None:
    job = Job(Path("a.jpg"), Path("out/a.jpg"), None)

    def options(name: str, **choice: Any) -> Any:
        with BokehModel.open(foreign / f"{name}.tflite", "cpu", threads=1, **choice) as model:
            return result_provenance(job, model, RenderOptions(), None)["options"]

    assert options("open_x2", size=SIZE) == options("open_x2", size=SIZE)
    assert options("open_x2", size=SIZE) != options("open_x2", size=(24, 36))
    one, other = (options("three_signatures", signature=name) for name in ("enhance", "brighten"))
    assert one != other
    assert options("float_bytes") != options("float_bytes", input_range="0..255")


# Hostile files.


def field(table: Table, number: int) -> int:
    """Offset in the file of a field that is given."""
    offset = table._field_offset(number, 4)
    assert offset is not None
    return offset


def with_number(content: bytes, offset: int, number: int) -> bytes:
    return content[:offset] + struct.pack("<I", number & 0xFFFFFFFF) + content[offset + 4 :]


@pytest.mark.parametrize("number", [3, 99, 0xFFFFFFFF])
def test_a_signature_of_a_missing_subgraph_is_refused(foreign: Path, number: int) -> None:
    content = (foreign / "three_signatures.tflite").read_bytes()
    signature = list(Table(content, read_number("<I", content, 0)).tables(7))[-1]
    hostile = with_number(content, field(signature, 4), number)
    with pytest.raises(InputError, match=r"damaged .*subgraph of signature 'enhance' does not exi"):
        parse_tflite(Path("hostile"), hostile)


@pytest.mark.parametrize("number", [1, 99, 0xFFFFFFFF])
def test_a_signature_of_a_missing_tensor_is_refused(foreign: Path, number: int) -> None:
    content = (foreign / "three_signatures.tflite").read_bytes()
    signature = list(Table(content, read_number("<I", content, 0)).tables(7))[-1]
    (entry,) = signature.tables(1)
    hostile = with_number(content, field(entry, 1), number)
    with pytest.raises(InputError, match=r"damaged .*'enhance' has an output that"):
        parse_tflite(Path("hostile"), hostile)


@pytest.mark.parametrize("number", [-2, 0, 7, 2**31 - 1])
def test_a_shape_signature_that_contradicts_the_shape_is_refused(
    foreign: Path, number: int
) -> None:
    content = (foreign / "open_x2.tflite").read_bytes()
    graph = next(Table(content, read_number("<I", content, 0)).tables(2))
    tensor = next(graph.tables(0))
    start, length = tensor.vector(7, 4)
    assert tensor.numbers(7, "i") == (1, -1, -1, 3)
    for hostile in (
        with_number(content, start + 4, number),
        with_number(content, start - 4, abs(number) % length + length + 1),
    ):
        with pytest.raises(InputError, match=r"damaged \.tflite file"):
            parse_tflite(Path("hostile"), hostile)


@pytest.mark.parametrize("name", ["three_signatures", "open_x2"])
def test_damaged_choices_are_refused_or_within_the_file(name: str, foreign: Path) -> None:
    content, source = (foreign / f"{name}.tflite").read_bytes(), random.Random(4)
    chosen = 0
    for _ in range(1500):
        hostile = bytearray(content)
        for _ in range(source.randint(1, 3)):
            hostile[source.randrange(len(hostile))] = source.choice([0, 1, 4, 127, 128, 255])
        try:
            file = choose_graph(
                parse_tflite(Path("hostile"), bytes(hostile)),
                "enhance" if name == "three_signatures" else None,
                SIZE,
            )
        except InputError:
            continue
        chosen += 1
        indices = {i for one in file.operators for i in (*one.inputs, *one.outputs)}
        assert {*file.inputs, *file.outputs, *indices} <= {-1, *range(len(file.tensors))}
        assert len(file.content) == len(content)
    assert chosen > 100
