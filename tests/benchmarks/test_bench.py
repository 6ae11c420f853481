"""The command `bokeh-bench`, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main
from bokeh_bench.measure.operator_times import measure_operator_times
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.reference_pack import Reference, load_reference, save_reference
from helpers import commands
from helpers.skips import ELSEWHERE

QUICK = ("--runs", "5", "--seconds", "0")


def bench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return commands.command(
        "bokeh-bench", *arguments, cwd=cwd, XDG_CACHE_HOME=str(cwd / "cache"), COLUMNS="200"
    )


def report(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "bench" / "report.json").read_text())
    return data


def test_a_row_has_latency_fidelity_and_placement(data: Path, tmp_path: Path) -> None:
    done = bench(data / "small_int8.tflite", "-dcpu", "--json", *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == report(tmp_path)
    (row,) = report(tmp_path)["rows"]
    assert row["placement"]["delegated_ops"] == row["placement"]["total_ops"] == 38
    assert row["placement"]["partitions"] == 1
    latency = row["latency"]
    assert len(latency["runs_ms"]) == 5
    assert latency["latency_ms"] == sorted(latency["runs_ms"])[2]
    # No order: on a busy machine the first run may be faster than the median.
    assert latency["latency_ms"] > 0
    assert latency["first_inference_ms"] > 0
    assert latency["warm_up_runs"] >= 2
    assert 20e6 < row["peak_rss_bytes"] < 1e9
    assert {(one["vs"], one["protocol"]) for one in row["fidelity"]} == {("full_model", "full")}
    images = row["fidelity"][0]["images"]
    assert row["fidelity"][0]["psnr_db_mean"] == pytest.approx(
        np.mean([image["psnr_db"] for image in images]), abs=1e-3
    )
    # The file's own metadata holds what the conversion measured.
    assert 40 < row["fidelity"][0]["psnr_db_worst"] < 50
    shares = [operator["share"] for operator in row["operator_times"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert any("Convolution" in operator["node_type"] for operator in row["operator_times"])
    assert row["model"]["sha256"]
    assert report(tmp_path)["environment"]["tools"]["ai-edge-litert"]


@pytest.mark.slow
def test_every_combination_has_a_row_and_failures_have_reasons(data: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"TFL3" * 9)
    models = (data / "small_float32.tflite", "broken.tflite")
    done = bench(
        *models, "-dcpu,nnapi", "--threads=1,2", "--no-operators", "--markdown", *QUICK,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    rows = report(tmp_path)["rows"]
    assert [row["name"] for row in rows] == [
        "small_float32.tflite, cpu, 1 threads",
        "small_float32.tflite, cpu, 2 threads",
        "small_float32.tflite, nnapi, 1 threads",
        "broken.tflite, cpu, 1 threads",
        "broken.tflite, cpu, 2 threads",
        "broken.tflite, nnapi, 1 threads",
    ]
    assert [row["failure_kind"] for row in rows] == ["", "", "hardware", *["input"] * 3]
    assert "only available on Android; use --delegate cpu" in rows[2]["failure"]
    assert done.stdout.count("| small_float32.tflite |") == 2
    assert "failed: broken.tflite, cpu, 1 threads: broken.tflite: " in done.stderr


@pytest.mark.slow
def test_a_model_that_no_longer_runs_is_a_regression(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "small_int8.tflite", tmp_path / "model.tflite")
    first = bench("model.tflite", "-dcpu", "--output-dir=old", *QUICK, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (tmp_path / "model.tflite").write_bytes(b"TFL3" * 9)
    compare = ("--compare=old/report.json", "--max-slowdown=0.5", "--output-dir=new")
    done = bench("model.tflite", "-dcpu", *compare, *QUICK, cwd=tmp_path)
    assert "regression: " in done.stderr
    assert done.returncode == 1


def test_hardware_that_is_not_here_is_exit_code_3(data: Path, tmp_path: Path) -> None:
    done = bench(data / "small_int8.tflite", "-dnpu", *QUICK, cwd=tmp_path)
    assert done.returncode == 3
    assert report(tmp_path)["rows"][0]["failure_kind"] == "hardware"


@pytest.mark.slow
def test_the_pack_of_another_conversion_is_noted(data: Path, tmp_path: Path) -> None:
    for name in ("small_float32.tflite", "small.reference.npz"):
        shutil.copy(data / name, tmp_path)
    pack = hashlib.sha256((tmp_path / "small.reference.npz").read_bytes()).hexdigest()
    for named, noted in ((pack, False), ("0" * 64, True)):
        conversion = {"reference": {"file": "small.reference.npz", "sha256": named}}
        (tmp_path / "small_float32.report.json").write_text(json.dumps(conversion))
        done = bench("small_float32.tflite", "-dcpu", *QUICK, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        notes = " ".join(report(tmp_path)["rows"][0]["notes"])
        assert ("is not the one that its report names" in notes) == noted


@pytest.mark.slow
def test_two_models_are_measured_in_interleaved_runs(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "small_float32.tflite", tmp_path / "copy.tflite")
    models = (data / "small_float32.tflite", "copy.tflite")
    done = bench(*models, "--pair", "-dcpu", "--runs=60", "--seconds=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    comparison = report(tmp_path)["paired_comparison"]
    assert (comparison["runs_per_model"], comparison["rounds"]) == (60, 10)
    ratio = comparison["latency_ratio"]
    # Not held to 1, although the files are identical: a busy machine may disturb one of them more.
    # How often the interval holds the true ratio is tested in test_latency.py.
    assert 0 < ratio["ci95_low"] <= ratio["estimate"] <= ratio["ci95_high"]
    assert "latency ratio of small_float32.tflite, cpu to copy.tflite, cpu: " in done.stderr


@pytest.mark.slow
def test_ground_truth_in_pairs_of_folders_and_in_ebbs_layout(
    data: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    ebb = tmp_path / "ebb"
    photos, targets = ebb / "test/original", ebb / "test/bokeh"
    for folder in (photos, targets, ebb / "train/original"):
        folder.mkdir(parents=True)
    for i in range(10):  # more than are in memory at once
        photo = cv2.GaussianBlur(rng.integers(0, 255, (80, 120, 3), np.uint8), (0, 0), 3)
        cv2.imwrite(str(photos / f"{i}.jpg"), photo)
        cv2.imwrite(str(targets / f"{i}.jpg"), cv2.blur(photo, (9, 9)))
    found = []
    model = data / "small_float32.tflite"
    for options in (["--dataset", ebb], ["--dataset", photos, "--targets", targets]):
        done = bench(model, "-dcpu", "--no-operators", *options, *QUICK, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (row,) = report(tmp_path)["rows"]
        found.append([one for one in row["fidelity"] if one["vs"] == "ground_truth"])
    assert found[0] == found[1]
    assert [image["name"] for image in found[0][0]["images"]] == [str(i) for i in range(10)]
    assert 5 < found[0][0]["psnr_db_mean"] < 40


@pytest.mark.slow
def test_the_full_model_is_run_live_from_its_source(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason=f"{ELSEWHERE}no TensorFlow")
    from bokeh_convert import convert
    from helpers.models import small_model

    small_keras = tmp_path / "small.keras"
    small_model().save(small_keras)
    (made,) = convert(small_keras, quant=["float32"], size=(64, 96), output_dir=tmp_path)
    made.reference_path.unlink()
    done = bench(made.path, "-dcpu", "--source", small_keras, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = report(tmp_path)["rows"]
    assert row["notes"] == [] or all("converted" not in note for note in row["notes"])
    assert row["fidelity"][0]["psnr_db_mean"] > 100
    other = bench(data / "small_float32.tflite", "-dcpu", "--source", small_keras, *QUICK,
                  cwd=tmp_path)  # fmt: skip
    assert "converted from a different trained model" in other.stderr


@pytest.mark.slow
def test_without_a_reference_there_is_latency_and_a_note(data: Path, tmp_path: Path) -> None:
    done = bench(data / "small_rgbd.tflite", "-dcpu", *QUICK, cwd=tmp_path)
    assert done.returncode == 0
    (row,) = report(tmp_path)["rows"]
    assert row["fidelity"] == []
    assert "there is no reference pack next to the file" in row["notes"][0]


@pytest.mark.slow
def test_a_wrong_reference_is_refused(data: Path, tmp_path: Path) -> None:
    pack = data / "small.reference.npz"
    done = bench(data / "small_rgbd.tflite", "-dcpu", "--reference", pack, *QUICK, cwd=tmp_path)
    assert done.returncode == 2
    assert "give the pack of its own conversion" in done.stderr


@pytest.mark.slow
def test_a_run_is_compared_with_an_older_one(data: Path, tmp_path: Path) -> None:
    model = data / "small_float32.tflite"
    assert bench(model, "-dcpu", "--no-operators", *QUICK, cwd=tmp_path).returncode == 0
    old = tmp_path / "old.json"
    before = report(tmp_path)
    before["rows"][0]["latency"]["latency_ms"] *= 100
    old.write_text(json.dumps(before))
    limits = ("--compare", old, "--max-slowdown=5%", "--max-psnr-drop=0.2")
    done = bench(model, "-dcpu", "--no-operators", *limits, *QUICK, cwd=tmp_path)
    assert done.returncode == 0
    assert "no regression: compared 1 rows with" in done.stderr
    before["rows"][0]["latency"]["latency_ms"] /= 1e6
    old.write_text(json.dumps(before))
    done = bench(model, "-dcpu", "--no-operators", *limits, *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    assert "regression: small_float32.tflite, cpu: latency +" in done.stderr


@pytest.mark.slow
def test_grain_of_a_run_is_compared_with_an_older_one(data: Path, tmp_path: Path) -> None:
    pack = load_reference(data / "small.reference.npz")
    # What the model gave, with a smooth area of full size.
    flat = [np.full_like(output, 0.5) for output in pack.outputs]
    save_reference(tmp_path / "flat.npz", Reference(pack.names, pack.inputs, flat, ""))
    case = [data / "small_float32.tflite", "-dcpu", "--no-operators", "--reference=flat.npz"]
    done = bench(*case, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = report(tmp_path)
    (fidelity,) = before["rows"][0]["fidelity"]
    assert fidelity["grain_worst"] >= fidelity["grain_mean"] > 1
    for image in fidelity["images"]:
        image["grain"] -= 0.2
    (tmp_path / "old.json").write_text(json.dumps(before))
    for limit, code in ((0.3, 0), (0.1, 1)):
        limits = ("--compare=old.json", f"--max-grain-increase={limit}")
        done = bench(*case, *limits, *QUICK, cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert done.stderr.count("cpu: grain vs full model, protocol full: ") == 2
    assert "(allowed increase: 0.1)" in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_keeps_the_rows_it_has(data: Path, tmp_path: Path) -> None:
    model = data / "small_float32.tflite"
    options = ["-dcpu", "--threads=1,2", "--no-operators", "--seconds=600", "--runs=5"]
    with commands.on_a_terminal("bokeh-bench", model, *options, cwd=tmp_path) as (process, read):
        read("1 of 2")
        process.send_signal(signal.SIGINT)
        shown = read(None)
        assert process.wait() == 130
    assert "interrupted before the first row was finished" in shown
    assert list((tmp_path / "bench").iterdir()) == []
    assert "Traceback" not in shown
    # The first rows are quick; the last one would take ten minutes.
    slow = tmp_path / "slow.tflite"
    shutil.copy(model, slow)
    with commands.on_a_terminal("bokeh-bench", "missing.tflite", slow, *options, cwd=tmp_path) as (
        process,
        read,
    ):
        read("3 of 4")
        process.send_signal(signal.SIGINT)
        shown = read(None)
        assert process.wait() == 130
    assert "interrupted; the report has the finished rows" in shown
    assert report(tmp_path)["interrupted"] is True
    assert len(report(tmp_path)["rows"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pair", "a.tflite"], "--pair takes two models"),
        (["--targets", "x"], "--targets needs --dataset"),
        (["--max-slowdown=5%"], "--max-slowdown needs --compare"),
        (["--max-grain-increase=0.05"], "--max-grain-increase needs --compare"),
        (["--compare", "old.json"], "--compare needs a limit"),
        (["--compare", "old.json", "--max-grain-increase=nan"], "'nan' is not a finite number"),
        (["--compare", "bench/report.json", "--max-slowdown=5%"], "this run would overwrite it"),
        (["--device=android", "--dataset=x"], "runs the reference photos only"),
        (["--compare", "no.json", "--max-slowdown=5%"], "no.json: No such file or directory"),
        (["--device=toaster"], "use android[:SERIAL], arm64[:PROFILE], host or web[:COUNT]"),
        (["--threads=0"], "'0' is not a list of positive integers"),
        (["--delegate=cpu,tpu"], "'tpu' is not one of"),
        (["--max-slowdown=fast", "--compare=a"], "'fast' is not a percentage"),
        (["a/x.tflite", "b/x.tflite"], "two models have the same file name"),
        (["--source=m.h5", "--reference=r.npz"], "exclude each other"),
        (["--reference=r.npz"], "r.npz: no such file"),
        (["--dataset=nowhere"], "nowhere: no such folder; check the path"),
        (["--dataset=."], ".: has neither pairs.tsv nor train/original/ nor original/"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = bench(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("device", "options", "unused"),
    [
        ("arm64", ["-dgpu", "--threads=4"], "--delegate, --threads: "),
        ("arm64:neoverse-n2", ["--runs=20", "--seconds=5"], "--runs, --seconds: "),
        ("android", ["--no-operators", "--delegate=cpu", "--runs=5"], "--no-operators: "),
        ("web", ["--allow-partial", "--delegate-library=x"], "--delegate-library, --allow-partial"),
        ("web:2", ["--interpreter=ai-edge-litert", "--threads=1"], "--interpreter: "),
    ],
)
def test_options_without_effect_on_a_device_are_refused(
    device: str, options: list[str], unused: str
) -> None:
    done = CliRunner().invoke(main, ["none.tflite", "--device", device, *options])
    assert done.exit_code == 2
    assert done.output.startswith(f"bokeh-bench: {unused}")
    assert f": without effect on --device {device}; omit " in done.output
    assert done.output.count("\n") == 1


@pytest.mark.slow
def test_a_data_set_without_held_out_pairs_says_that_test_is_missing(tmp_path: Path) -> None:
    (tmp_path / "ebb/train/original").mkdir(parents=True)
    done = bench("--dataset=ebb", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "bokeh-bench: ebb: test/ is missing; add test/original and test/bokeh, or give ebb/train "
        "to use the pairs of train/"
    ]


@pytest.mark.slow
def test_an_output_folder_that_cannot_be_written_fails_before_the_measurement(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("a file")
    done = bench(data / "small_int8.tflite", "-dcpu", "-o", "file/bench", cwd=tmp_path)
    assert done.returncode == 2
    assert "file/bench: cannot be written to" in done.stderr
    assert (tmp_path / "file").read_text() == "a file"


def test_operators_of_a_gpu_are_not_profiled_and_a_broken_file_has_a_note(
    data: Path, tmp_path: Path
) -> None:
    file = read_tflite(data / "small_int8.tflite")
    assert measure_operator_times(file, "gpu", 1) == (
        [],
        "LiteRT does not profile operators on the gpu",
    )
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    broken = replace(file, path=tmp_path / "broken.tflite")
    found, why = measure_operator_times(broken, "cpu", 1)
    assert found == []
    assert why.startswith("LiteRT failed to profile the operators (")


def test_the_shipped_pack_names_its_source_model() -> None:
    from bokeh_runtime.shipped_models import shipped_model
    from bokeh_runtime.tflite.metadata import read_metadata

    pack = load_reference(shipped_model("demo_pynet.reference.npz"))
    assert pack.source_sha256 == read_metadata(shipped_model()).source["sha256"]
