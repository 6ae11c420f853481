from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_runtime import BokehModel, HardwareError, InputError, cli, probe
from bokeh_runtime.backends import delegates, nnapi
from bokeh_runtime.backends.interpreter import INTERPRETERS, TfliteModel, installed_interpreters
from bokeh_runtime.backends.placement import unsupported_operators
from bokeh_runtime.tflite.file import read_tflite


@pytest.fixture
def small(data: Path) -> Path:
    return data / "small_float16.tflite"


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real external delegate, which takes no operator."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("delegate") / "libnothing_delegate.so"
    source = Path(__file__).with_name("external_delegate.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, source], check=True)
    return path


def test_an_unknown_delegate_is_refused(small: Path) -> None:
    with pytest.raises(InputError, match="delegate='tpu': unknown"):
        BokehModel.open(small, "tpu")


def test_every_delegate_is_probed() -> None:
    found = {entry.delegate: entry for entry in probe()}
    assert list(found) == ["cpu", "gpu", "nnapi", "npu"]
    assert found["cpu"].device is not None
    for entry in found.values():
        assert (entry.device is None) == bool(entry.reason)


def test_nnapi_says_what_to_use_instead(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HardwareError, match="only available on Android; use delegate='cpu'"):
        BokehModel.open(small, "nnapi")
    monkeypatch.setattr(nnapi, "android_level", lambda: 35)
    with pytest.raises(HardwareError, match="deprecated since Android 15; use delegate='gpu'"):
        BokehModel.open(small, "nnapi")
    monkeypatch.setattr(nnapi, "android_level", lambda: 34)
    with pytest.raises(HardwareError, match="delegate_library"):
        BokehModel.open(small, "nnapi")


def test_an_npu_without_a_vendor_library_is_refused(small: Path) -> None:
    with pytest.raises(HardwareError, match=r"npu: .*(vendor|LiteRT)"):
        BokehModel.open(small, "npu")


def test_auto_falls_back_to_the_cpu_and_says_why(
    small: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    def missing(_: object, kind: str, **__: object) -> None:
        raise HardwareError(f"{kind}: not here")

    monkeypatch.setattr(delegates, "AcceleratedModel", missing)
    model = BokehModel.open(small, "auto")
    assert (model.placement.requested, model.placement.delegate) == ("auto", "cpu")
    if "ai-edge-litert" in installed_interpreters():
        assert list(model.placement.notes) == ["npu: not here", "gpu: not here"]
    assert model.render(scene).placement.delegate == "cpu"


def test_a_library_that_supports_no_operator_is_an_error_unless_partial_is_allowed(
    small: Path, library: Path, scene: np.ndarray
) -> None:
    with pytest.raises(HardwareError, match=r"does not support .*CONV_2D x 3.*allow_partial=True"):
        BokehModel.open(small, "gpu", delegate_library=library)
    model = BokehModel.open(small, "gpu", delegate_library=library, allow_partial=True)
    assert model.placement.delegated_ops == 0
    assert "CONV_2D x 3" in model.placement.unsupported_ops
    plain = BokehModel.open(small, "cpu").render(scene).pixels.astype(int)
    assert np.abs(model.render(scene).pixels - plain).max() <= 2


def test_a_file_that_is_not_a_delegate_library_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; give the shared library"):
        BokehModel.open(small, "gpu", delegate_library=tmp_path / "missing.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(HardwareError, match="cannot be loaded as a delegate"):
        BokehModel.open(small, "gpu", delegate_library=tmp_path / "text.so")
    with pytest.raises(
        InputError, match="hardware of a delegate library must be given; use delegate='gpu'"
    ):
        BokehModel.open(small, "auto", delegate_library=tmp_path / "text.so")


def test_a_library_without_the_entry_point_is_refused(small: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "other.c").write_text("int nothing(void) { return 0; }")
    command = [compiler, "-shared", "-o", tmp_path / "other.so", tmp_path / "other.c"]
    subprocess.run(command, check=True)
    with pytest.raises(HardwareError, match="tflite_plugin_create_delegate"):
        BokehModel.open(small, "gpu", delegate_library=tmp_path / "other.so")


def test_an_interpreter_that_is_missing_is_named(small: Path) -> None:
    for name in set(INTERPRETERS) - set(installed_interpreters()):
        with pytest.raises(InputError, match=f"'{name}' is not installed; pip install {name}"):
            BokehModel.open(small, "cpu", interpreter=name)
    with pytest.raises(InputError, match="interpreter 'caffe' is unknown"):
        BokehModel.open(small, "cpu", interpreter="caffe")


@pytest.mark.parametrize("scheme", ["float32", "float16", "int8", "full-integer"])
def test_every_installed_interpreter_runs_our_files(
    scheme: str, data: Path, scene: np.ndarray
) -> None:
    for name in installed_interpreters():
        model = BokehModel.open(data / f"small_{scheme}.tflite", "cpu", interpreter=name)
        assert name in model.placement.device
        assert model.render(scene).pixels.std() > 1


def test_a_file_that_the_interpreter_cannot_run_gets_a_clear_error(
    data: Path, tmp_path: Path
) -> None:
    content = (data / "fourier.tflite").read_bytes()
    rfft2d, cube_root = (number.to_bytes(4, "little") for number in (131, 208))
    assert content.count(rfft2d) == 1
    # An operator that the schema knows and no interpreter has.
    (tmp_path / "newer.tflite").write_bytes(content.replace(rfft2d, cube_root))
    with pytest.raises(
        InputError, match=r"newer.tflite: .* cannot run it .*use another interpreter"
    ):
        BokehModel.open(tmp_path / "newer.tflite", "cpu")


def test_unsupported_operators_are_those_that_no_delegate_node_replaces(data: Path) -> None:
    file = read_tflite(data / "tiny_float16.tflite")
    assert unsupported_operators(file, []) == list(file.operators)
    whole = [(file.inputs, file.outputs)]
    assert unsupported_operators(file, whole) == []
    last = file.operators[-1]
    assert unsupported_operators(file, [(last.inputs, last.outputs)]) == list(file.operators[:-1])


def without_details(model: TfliteModel) -> None:
    """An interpreter without the private method, as a later one may be."""
    real = model._interpreter

    class Newer:
        def __getattr__(self, name: str) -> object:
            if name == "_get_ops_details":
                raise AttributeError(name)
            return getattr(real, name)

    model._interpreter = Newer()


def with_other_keys(model: TfliteModel) -> None:
    model._interpreter._get_ops_details = lambda: [{"in": [], "out": []}]


def with_fewer_nodes(model: TfliteModel) -> None:
    model._interpreter._get_ops_details = lambda: []


def with_other_nodes(model: TfliteModel) -> None:
    nodes = list(reversed(model._interpreter._get_ops_details()))
    model._interpreter._get_ops_details = lambda: nodes


@pytest.mark.parametrize(
    "change", [without_details, with_other_keys, with_fewer_nodes, with_other_nodes]
)
def test_delegated_ops_are_unknown_if_the_interpreter_does_not_report_them(
    change: Callable[[TfliteModel], None],
    small: Path,
    library: Path,
    monkeypatch: pytest.MonkeyPatch,
    scene: np.ndarray,
) -> None:
    opened = TfliteModel.__init__

    def open_changed(self: TfliteModel, *arguments: object, **options: object) -> None:
        opened(self, *arguments, **options)  # type: ignore[arg-type]
        change(self)

    monkeypatch.setattr(TfliteModel, "__init__", open_changed)
    with BokehModel.open(small, "cpu") as model:
        placement = model.render(scene).placement
    assert placement.delegated_ops is placement.unsupported_ops is placement.partitions is None
    assert str(placement).endswith(f"unknown of {placement.total_ops} operators")
    assert "XNNPACK" not in placement.device
    # Of a library it is no proof that it runs the whole model.
    with pytest.raises(
        HardwareError, match="does not report which operators it runs; use allow_partial=True"
    ):
        BokehModel.open(small, "gpu", delegate_library=library)
    partial = BokehModel.open(small, "gpu", delegate_library=library, allow_partial=True)
    assert partial.placement.delegated_ops is None


def test_a_depth_network_that_fails_to_open_closes_the_model(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    close = BokehModel.close
    monkeypatch.setattr(BokehModel, "close", lambda self: (closed.append(self), close(self)))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    asked = [
        tmp_path / "a.png",
        "-m",
        small,
        "-d",
        "cpu",
        "--depth-model",
        tmp_path / "none.tflite",
    ]
    done = CliRunner().invoke(cli.main, list(map(str, asked)))
    assert done.exit_code == 2
    assert "none.tflite: cannot be read" in done.output
    assert len(closed) == 1
