"""`bokeh-convert --npu` with Qualcomm's compiler, and its emulator on a small model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bokeh_convert.npu.compiled_file import compiled_parts
from bokeh_convert.npu.compiler import NpuBuild, compile_file
from bokeh_convert.npu.emulator import Emulator
from bokeh_convert.npu.libraries import find_toolchain, licence_notice
from bokeh_convert.npu.vendors import find_npus
from bokeh_runtime.backends.npu import compiled_for
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.file import parse_tflite, read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference
from helpers.commands import command
from helpers.models import small_model
from helpers.schemas import check_format

CHIP = "qualcomm:SM8650"


def compiled(path: Path) -> NpuBuild:
    npu = find_npus([CHIP])[0]
    return compile_file(path.read_bytes(), npu, find_toolchain(npu))


@pytest.mark.parametrize("name", ["small_float16", "small_full-integer", "small_float32"])
def test_a_file_goes_whole_to_the_npu_and_keeps_its_metadata(data: Path, name: str) -> None:
    source = read_tflite(data / f"{name}.tflite")
    build = compiled(source.path)
    assert build.whole
    assert (build.taken, build.operators, build.parts) == (
        len(source.operators),
        len(source.operators),
        1,
    )
    assert build.content is not None
    file = parse_tflite(Path("compiled"), build.content)
    assert [operator.name for operator in file.operators] == ["DISPATCH_OP"]
    assert metadata_of(file) == metadata_of(source)
    assert compiled_for(file) == "Qualcomm SM8650"
    assert compiled_for(source) is None
    assert build.tools["onnxruntime-qnn"] == "2.7.0"
    assert build.tools["Qualcomm libraries"].startswith("v2.")


def test_refused_operators_are_counted_in_the_compilers_own_words(data: Path) -> None:
    build = compiled(data / "small_int8.tflite")  # of old: int8 weights, float activations
    assert not build.whole
    assert (build.operators, build.taken, build.parts) == (38, 35, 4)
    [refused] = build.refused
    assert (refused.operator, refused.count) == ("CONV_2D", 3)
    assert refused.reason.startswith("Unsupported input/output datatypes requested for the HTP Op")
    assert "float_32, sfixed_point_8, float_32 -> float_32" in refused.reason
    assert build.content is not None
    assert len(compiled_parts(build.content)) == 4


def test_a_file_that_the_compiler_cannot_read_has_its_words_and_no_content(data: Path) -> None:
    build = compiled(data / "fourier.tflite")
    assert (build.content, build.whole, build.taken) == (None, False, 0)
    assert build.failure == "QNN Unsupported data type, litert type: 8"


@pytest.mark.parametrize(("name", "least_db"), [("small_float16", 50), ("small_full-integer", 38)])
def test_the_emulator_computes_what_the_cpu_does(data: Path, name: str, least_db: float) -> None:
    from bokeh_runtime import TfliteModel

    path = data / f"{name}.tflite"
    content = compiled(path).content
    assert content is not None
    image = np.random.default_rng(5).random((64, 96, 3), np.float32)
    emulated, by_cpu = Emulator(content).run(image), TfliteModel(path.read_bytes()).run(image)
    assert psnr(emulated, by_cpu, border_px=0) > least_db
    assert not np.array_equal(emulated, by_cpu)


def test_the_libraries_are_linked_in_the_cache_and_no_package_is_changed(cache: Path) -> None:
    toolchain = find_toolchain(find_npus([CHIP])[0])
    folder = toolchain.library_path[0]
    assert cache in folder.parents
    links = {path.name: path for path in folder.iterdir()}
    assert {"libQnnHtp.so", "libHtpPrepare.so", "libQnnLpai.so"} <= set(links)
    assert all(path.is_symlink() and path.exists() for path in links.values())
    links["libQnnHtp.so"].unlink()
    find_toolchain(find_npus([CHIP])[0])
    assert links["libQnnHtp.so"].exists()
    assert toolchain.licence is not None
    assert Path(toolchain.licence).exists()


def test_the_licence_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOKEH_CACHE", str(tmp_path))
    [npu] = find_npus([CHIP])
    toolchain = find_toolchain(npu)
    assert "under Qualcomm's licence" in str(licence_notice(npu.vendor, toolchain))
    assert licence_notice(npu.vendor, toolchain) is None


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_model().save(path)
    return path


def test_a_conversion_compiles_emulates_and_reports(small: Path, tmp_path: Path) -> None:
    done = command(
        "bokeh-convert", small, "-q", "float16", "--size", "64x96",
        "--npu", f"{CHIP},qualcomm:SM8550", "--emulate", "-o", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/small_float16.report.json").read_text(encoding="utf-8"))
    check_format(report)
    for made, chip in zip(report["npu"], ("SM8650", "SM8550"), strict=True):
        assert made["file"] == f"small_float16.qualcomm-{chip}.tflite"
        assert (made["whole"], made["parts"]) == (True, 1)
        emulation = made["emulation"]
        assert emulation["computed_by"] == "HTP emulator of onnxruntime-qnn 2.7.0"
        assert len(emulation["fidelity"]["images"]) == 1
        assert emulation["fidelity"]["psnr_db_worst"] > 45
        assert emulation["fidelity"]["emulated"]
    path = tmp_path / "out" / report["npu"][0]["file"]
    pack = find_reference(path, metadata_of(read_tflite(path)))
    assert pack is not None
    with np.load(tmp_path / "out/small.reference.npz") as arrays:
        computed_by = json.loads(str(arrays["computed_by"]))
        assert computed_by["outputs"] == "the full model"
        for name in ("emulated_float16_qualcomm-SM8650", "emulated_float16_qualcomm-SM8550"):
            assert computed_by[name] == "HTP emulator of onnxruntime-qnn 2.7.0"
            assert arrays[name].shape == arrays["outputs"][:1].shape
            assert psnr(arrays[name][0], pack.outputs[0], border_px=0) > 45


def test_a_file_that_does_not_go_whole_is_exit_code_3(small: Path, tmp_path: Path) -> None:
    words = ("bokeh-convert", small, "-q", "dynamic", "--size", "64x96", "--npu", CHIP)
    refused = command(*words, cwd=tmp_path)
    name = "small_dynamic.qualcomm-SM8650.tflite"
    assert refused.returncode == 3, refused.stderr
    assert "CONV_2D: Unsupported input/output datatypes" in refused.stderr
    assert not (tmp_path / name).exists()
    [made] = json.loads((tmp_path / "small_dynamic.report.json").read_text(encoding="utf-8"))["npu"]
    assert (made["file"], made["whole"]) == (None, False)
    assert sum(each["count"] for each in made["refused"]) == made["operators"] - made["taken"]
    allowed = command(*words, "--allow-partial", cwd=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    assert (tmp_path / name).exists()
