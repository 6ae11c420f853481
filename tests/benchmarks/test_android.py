"""`--device android` through the real adb, with a fake phone that implements the app's side."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import commands
from helpers.fake_phone import FakePhone, benchmark_activity
from helpers.references import ranged_reference

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs adb with a server of its own."""
    if shutil.which("adb") is None:
        pytest.skip("no adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*words: str) -> None:
        subprocess.run(["adb", *words], check=True, capture_output=True, timeout=60)

    yield run
    run("kill-server")


@pytest.fixture
def phone(adb: Callable[..., None], tmp_path: Path) -> Iterator[FakePhone]:
    phone = FakePhone(tmp_path / "phone")
    adb("connect", phone.serial)
    yield phone
    phone.close()


def bench(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return commands.command("bokeh-bench", *arguments, "--runs=5", cwd=cwd)


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "bench/report.json").read_text())["rows"]
    return found


@pytest.mark.slow
def test_a_phones_rows_are_in_the_same_report(phone: FakePhone, data: Path, tmp_path: Path) -> None:
    models = [data / "small_int8.tflite", data / "small_rgbd.tflite"]
    done = bench(*models, "-dcpu,nnapi", "--device=android", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    found = rows(tmp_path)
    assert [row["device"] for row in found] == [phone.serial] * 4
    assert found[0]["name"] == f"small_int8.tflite, cpu on {phone.serial}"
    assert len(found[0]["latency"]["runs_ms"]) == 5
    # The fidelity is that of this machine, so the phone's outputs were transferred unchanged.
    here = bench(models[0], "-dcpu", "-ohere", cwd=tmp_path)
    assert here.returncode == 0
    local = json.loads((tmp_path / "here/report.json").read_text())["rows"][0]
    assert found[0]["fidelity"] == local["fidelity"]
    assert "only available on Android" in found[1]["failure"]
    assert found[2]["fidelity"] == []  # it has no reference pack
    environment = json.loads((tmp_path / "bench/report.json").read_text())["environment"]
    assert environment["model"] == "Fake 1"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["range_signed", "range_bytes_to_unit"])
def test_a_phones_outputs_are_scaled_back_from_the_models_range(
    name: str, phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    pack = ranged_reference(data / f"{name}.tflite", tmp_path / "a.npz")
    model = data / f"{name}.tflite"
    done = bench(model, "-dcpu", "--device=android", "--reference", pack, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path)
    (full,) = [one for one in row["fidelity"] if one["protocol"] == "full"]
    assert full["psnr_db_worst"] is None or full["psnr_db_worst"] > 100


@pytest.mark.slow
def test_a_foreign_file_of_other_ranges_has_no_fidelity_on_a_phone(
    phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    pack = ranged_reference(data / "range_bytes.tflite", tmp_path / "a.npz")
    model = data / "foreign/uint8_bytes.tflite"
    done = bench(model, "-dcpu", "--device=android", "--reference", pack, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path)
    assert row["fidelity"] == []
    assert any("runs a file without metadata in 0..1" in note for note in row["notes"])


@pytest.mark.slow
def test_nothing_stays_on_the_phone(phone: FakePhone, data: Path, tmp_path: Path) -> None:
    bench(data / "small_int8.tflite", "-dcpu", f"--device=android:{phone.serial}", cwd=tmp_path)
    assert [path for path in phone.root.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_a_crash_loses_one_row_alone(phone: FakePhone, data: Path, tmp_path: Path) -> None:
    starts = []

    def crashing(request: Path, result: Path) -> None:
        """Ends in the first row on a GPU."""
        content = json.loads((request / "request.json").read_text())
        asked = [(row["model"], row["delegate"]) for row in content["rows"]]
        starts.append((asked, sorted(path.name for path in request.glob("*.tflite"))))
        crash = next((i for i, (_, delegate) in enumerate(asked) if delegate == "gpu"), None)
        content["rows"] = content["rows"][:crash]
        (request / "request.json").write_text(json.dumps(content))
        if crash == 0:
            result.mkdir(parents=True)
        else:
            benchmark_activity(request, result)
        if crash is not None:
            (result / "status.json").write_text('{"progress": "a model on gpu", "finished": false}')

    phone.activity = crashing
    models = [data / "small_int8.tflite", data / "small_float16.tflite"]
    done = bench(*models, "-dgpu,cpu", f"--device=android:{phone.serial}", cwd=tmp_path)
    assert done.returncode == 1
    found = [(row["model"]["name"], row["delegate"], row["failure"][:26]) for row in rows(tmp_path)]
    ended = "android: the app ended at "
    int8, float16 = (path.name for path in models)
    assert found == [
        (int8, "gpu", ended), (int8, "cpu", ""), (float16, "gpu", ended), (float16, "cpu", ""),
    ]  # fmt: skip
    assert [len(asked) for asked, _ in starts] == [4, 3, 1]
    assert [pushed for _, pushed in starts][2] == [float16]
    assert [path for path in phone.root.rglob("*") if path.is_file()] == []


def test_an_app_that_crashes_in_its_first_row_is_a_row_with_the_reason(
    phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    def crashing(request: Path, result: Path) -> None:
        result.mkdir(parents=True)
        (result / "status.json").write_text('{"progress": "1 of 1: on gpu", "finished": false}')

    phone.activity = crashing
    done = bench(data / "small_int8.tflite", "-dgpu", "--device=android", cwd=tmp_path)
    assert done.returncode == 3
    (row,) = rows(tmp_path)
    assert row["failure"].startswith("android: the app ended at 1 of 1: on gpu; adb -s 127")


def test_a_row_that_cannot_be_read_fails_alone(
    phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    def broken(request: Path, result: Path) -> None:
        benchmark_activity(request, result)
        answer = json.loads((result / "result.json").read_text())
        answer["rows"][0]["runs_ms"] = []
        (result / "result.json").write_text(json.dumps(answer))

    phone.activity = broken
    models = [data / "small_int8.tflite", data / "small_float16.tflite"]
    done = bench(*models, "-dcpu", "--seconds=0", "--device=android", cwd=tmp_path)
    assert done.returncode == 1
    one, other = rows(tmp_path)
    why = f"the result of {phone.serial} cannot be read (runs_ms is []); install the matching app"
    assert (one["failure"], other["failure"]) == (why, "")


def test_a_row_that_the_app_leaves_out_is_a_failure(
    phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    def forgetful(request: Path, result: Path) -> None:
        benchmark_activity(request, result)
        answer = json.loads((result / "result.json").read_text())
        answer["rows"] = []
        (result / "result.json").write_text(json.dumps(answer))

    phone.activity = forgetful
    done = bench(
        data / "small_int8.tflite", "-dcpu", "--seconds=0", "--device=android", cwd=tmp_path
    )
    assert done.returncode == 3
    (row,) = rows(tmp_path)
    assert row["failure"].startswith("android: the app wrote no result of this row; install")


def test_an_app_of_another_version_is_reported(
    phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    def newer(request: Path, result: Path) -> None:
        benchmark_activity(request, result)
        text = (result / "result.json").read_text()
        (result / "result.json").write_text(text.replace("android-result/2", "android-result/3"))

    phone.activity = newer
    done = bench(data / "small_int8.tflite", "-dcpu", "--device=android", cwd=tmp_path)
    assert done.returncode == 3
    assert "android-result/3, this version reads bokeh-tflite/android-result/2" in done.stderr


@pytest.mark.parametrize("name", ["../pushed/request.json", "/etc/hostname"])
def test_a_phone_names_no_files_of_this_machine(
    name: str, phone: FakePhone, data: Path, tmp_path: Path
) -> None:
    def pointing(request: Path, result: Path) -> None:
        benchmark_activity(request, result)
        answer = json.loads((result / "result.json").read_text())
        answer["rows"][0]["outputs"] = name
        (result / "result.json").write_text(json.dumps(answer))

    phone.activity = pointing
    done = bench(data / "small_int8.tflite", "-dcpu", "--device=android", cwd=tmp_path)
    assert done.returncode == 3
    assert f"cannot be read (outputs is {name})" in done.stderr


def test_a_phone_without_the_app_is_reported(phone: FakePhone, data: Path, tmp_path: Path) -> None:
    phone.installed = False
    done = bench(data / "small_int8.tflite", "--device=android", cwd=tmp_path)
    assert done.returncode == 3
    assert "adb install -r build/android/" in done.stderr


@pytest.mark.parametrize(
    ("device", "message"),
    [("android", "no phone is attached"), ("android:X1", "no phone X1 is attached")],
)
def test_no_phone_is_exit_code_3(
    adb: Callable[..., None], device: str, message: str, data: Path, tmp_path: Path
) -> None:
    done = bench(data / "small_int8.tflite", f"--device={device}", cwd=tmp_path)
    assert done.returncode == 3
    assert message in done.stderr


def test_of_several_phones_one_must_be_named(
    phone: FakePhone, adb: Callable[..., None], data: Path, tmp_path: Path
) -> None:
    second = FakePhone(tmp_path / "second")
    adb("connect", second.serial)
    done = bench(data / "small_int8.tflite", "--device=android", cwd=tmp_path)
    assert done.returncode == 2
    assert f"android:{phone.serial}" in done.stderr
    assert f"android:{second.serial}" in done.stderr


def test_without_adb_the_error_says_so(data: Path, tmp_path: Path) -> None:
    done = commands.command(
        "bokeh-bench", data / "small_int8.tflite", "--device=android", cwd=tmp_path, PATH="/nowhere"
    )
    assert done.returncode == 3
    assert "adb is not installed" in done.stderr
