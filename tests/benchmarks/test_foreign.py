"""`bokeh-bench` of files of other tools: sizes, signatures, value ranges, one channel."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_bench.measure.cases import read_model_under_test
from bokeh_bench.measure.host import Settings
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.workers.latency import engine_options, engine_request
from bokeh_runtime import InputError, TfliteModel
from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.imaging.luminance import luminance
from bokeh_runtime.imaging.photo import to_unit
from bokeh_runtime.tflite.image_ranges import ranges_of
from bokeh_runtime.tflite.reference_pack import Reference, save_reference
from bokeh_runtime.tflite.value_range import BYTES, SIGNED, ImageRanges
from helpers import commands

SIZE = (48, 72)


@pytest.fixture
def photos(rng: np.random.Generator) -> list[np.ndarray]:
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    waves = [np.sin(rows / (5 + i)) * np.cos(columns / (4 + i)) for i in range(3)]
    return [
        np.clip(128 + 110 * np.dstack(waves) + rng.normal(0, 3, (*SIZE, 3)), 0, 255).astype("u1")
        for _ in range(2)
    ]


def bench(path: Path, *options: object, cwd: Path) -> tuple[int, dict[str, Any]]:
    done = commands.command(
        "bokeh-bench", path, "-dcpu", "--runs", "5", "--seconds", "0", "--no-operators", *options,
        cwd=cwd,
    )  # fmt: skip
    report = cwd / "bench" / "report.json"
    assert report.is_file(), done.stderr
    (row,) = json.loads(report.read_text())["rows"]
    return done.returncode, row


def psnr_db(row: dict[str, Any]) -> float:
    """Of the worst image; infinite if all are identical."""
    (full,) = [one for one in row["fidelity"] if one["protocol"] == "full"]
    return np.inf if full["psnr_db_worst"] is None else full["psnr_db_worst"]


def pack(path: Path, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> Path:
    clipped = [np.clip(output, 0, 1).astype(np.float32) for output in outputs]
    save_reference(path, Reference([str(i) for i in range(len(inputs))], inputs, clipped))
    return path


@pytest.mark.slow
def test_fidelity_is_measured_in_the_networks_ranges(
    data: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    path = data / "foreign/float_bytes.tflite"
    model = TfliteModel(path.read_bytes(), threads=1)  # scales nothing
    full = [model.run(photo.astype(np.float32)) / 255 for photo in photos]
    reference = pack(tmp_path / "a.npz", photos, full)
    ranges = ("--input-range", "0..255", "--output-range", "0..255")
    code, row = bench(path, "--reference", reference, *ranges, cwd=tmp_path)
    assert code == 0
    assert psnr_db(row) > 60
    assert row["model"]["ranges"] == "0..255 to 0..255"
    assert not any("--input-range" in note for note in row["notes"])
    code, row = bench(path, "--reference", reference, cwd=tmp_path)
    assert psnr_db(row) < 15
    assert any("--input-range" in note for note in row["notes"])


@pytest.mark.slow
def test_an_open_size_is_resized_and_the_row_has_it(
    data: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    path = data / "foreign/open_x2.tflite"
    code, row = bench(path, cwd=tmp_path)
    assert (code, row["failure_kind"], row["latency"]) == (2, "input", None)
    assert "its input size is open" in row["failure"]
    assert row["failure"].endswith("--size 256x384")
    small = [photo[:40, :60].copy() for photo in photos]
    model = TfliteModel(path.read_bytes(), threads=1, size=(40, 60))
    reference = pack(tmp_path / "a.npz", small, [model.run(to_unit(photo)) for photo in small])
    code, row = bench(path, "--size", "40x60", "--reference", reference, cwd=tmp_path)
    assert code == 0, row["failure"]
    assert row["model"]["input"] == "40 x 60 RGB"
    assert psnr_db(row) > 80
    assert row["latency"]["latency_ms"] > 0


@pytest.mark.slow
def test_a_signature_is_chosen_and_one_that_computes_nothing_is_no_row_with_times(
    data: Path, tmp_path: Path
) -> None:
    path = data / "foreign/three_signatures.tflite"
    code, row = bench(path, "--signature", "enhance", cwd=tmp_path)
    assert code == 0, row["failure"]
    assert row["model"]["signature"] == "enhance"
    assert row["model"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row["placement"]["total_ops"] > 0
    code, row = bench(path, "--signature", "a_passthrough", cwd=tmp_path)
    assert (code, row["placement"], row["latency"]) == (2, None, None)
    assert "computes nothing" in row["failure"]
    code, row = bench(path, cwd=tmp_path)
    assert code == 2
    assert row["failure"].endswith(
        "several signatures, a_passthrough and brighten and enhance; choose one with --signature"
    )


@pytest.mark.slow
def test_operators_of_a_chosen_signature_are_profiled(data: Path, tmp_path: Path) -> None:
    done = commands.command(
        "bokeh-bench", data / "foreign/three_signatures.tflite", "--signature", "brighten",
        "-dcpu", "--runs", "5", "--seconds", "0", "--json", cwd=tmp_path,
    )  # fmt: skip
    (row,) = json.loads(done.stdout)["rows"]
    assert row["operator_times"], row["operator_times_note"]


@pytest.mark.slow
def test_one_channel_is_measured_as_grey(
    data: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    path = data / "foreign/luminance.tflite"
    grey = [np.round(luminance(to_unit(photo)) * 255).astype(np.uint8) for photo in photos]
    model = TfliteModel(path.read_bytes(), threads=1, output=0)
    reference = pack(tmp_path / "a.npz", grey, [model.run(to_unit(photo)) for photo in grey])
    code, row = bench(path, "--reference", reference, cwd=tmp_path)
    assert code == 0, row["failure"]
    assert psnr_db(row) > 80
    assert row["model"]["input"] == "48 x 72 luminance"


@pytest.mark.slow
def test_ground_truth_of_a_file_that_doubles_the_size(
    data: Path, tmp_path: Path, photos: list[np.ndarray]
) -> None:
    from bokeh_runtime import write_photo
    from bokeh_runtime.imaging.photo import Photo

    for folder in ("sharp", "targets"):
        (tmp_path / folder).mkdir()
        for i, photo in enumerate(photos):
            write_photo(tmp_path / folder / f"{i}.png", Photo(photo))
    options = ("--size", "48x72", "--dataset", "sharp", "--targets", "targets")
    code, row = bench(data / "foreign/open_x2.tflite", *options, cwd=tmp_path)
    assert code == 0, row["failure"]
    assert psnr_db(row) > 15


def test_a_request_holds_the_engines_options() -> None:
    options = EngineOptions(
        "cpu", 2, "ai-edge-litert", Path("a.so"), True, SIGNED, BYTES, "enhance", SIZE
    )
    assert engine_options(json.loads(json.dumps(engine_request(options)))) == options
    assert engine_options(engine_request(EngineOptions())) == EngineOptions()
    full_model = FullModelReferences(None, None, None, print)
    assert Settings(5, 0, full_model).engine == EngineOptions()


def test_integers_say_their_ranges(data: Path) -> None:
    full_model = FullModelReferences(None, None, None, print)
    for name, expected in (("uint8_bytes", BYTES), ("int8_signed", SIGNED)):
        model = read_model_under_test(data / f"foreign/{name}.tflite", full_model)
        assert model.ranges == ImageRanges(expected, expected) == ranges_of(model.file)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--size", "--signature", "--input-range", "--output-range"])
def test_other_devices_go_by_the_metadata(option: str, data: Path, tmp_path: Path) -> None:
    value = {"--size": "48x72", "--signature": "a"}.get(option, "0..255")
    done = commands.command(
        "bokeh-bench", data / "foreign/open_x2.tflite", option, value, "--device", "arm64",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"bokeh-bench: {option}: --device arm64 goes by the metadata" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("option", "value"), [("--size", "48"), ("--input-range", "1..0")])
def test_wrong_values_are_refused(option: str, value: str, data: Path, tmp_path: Path) -> None:
    done = commands.command(
        "bokeh-bench", data / "foreign/open_x2.tflite", option, value, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "bench").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source"),
    [("signed", "tanh"), ("bytes", "rescaling_to_255"), ("bytes_to_unit", "rescaling_to_01")],
)
def test_a_source_runs_in_the_files_ranges(name: str, source: str, data: Path) -> None:
    full_model = FullModelReferences(None, data / f"networks/{source}.h5", None, print)
    model = read_model_under_test(data / f"range_{name}.tflite", full_model)
    engine = TfliteModel(model.file.content, threads=1, ranges=model.ranges)
    for sample in model.reference_samples:
        output = np.clip(engine.run(to_unit(sample.network_input)), 0, 1)
        np.testing.assert_allclose(output, sample.reference_output, atol=1e-3)
    with pytest.raises(InputError):
        EngineOptions(size=(1, 1)).graph_of(model.file)
