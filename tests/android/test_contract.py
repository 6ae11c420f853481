"""docs/android-benchmark.md, both sides at once: the app's own benchmark plays the phone."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bokeh_bench.devices.android import measure as android
from bokeh_bench.measure.cases import BenchmarkCase
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import Report
from helpers.schemas import check_format
from offline_build import fetch, kotlin


class Phone:
    """What `Adb` does, on this machine's folders, with the Kotlin benchmark as the activity."""

    serial = "a JVM"

    def __init__(self, root: Path, work: Path) -> None:
        self._root, self._work = root, work

    def local(self, remote: str) -> Path:
        return self._root / remote.lstrip("/")

    def push(self, local: Path, remote: str) -> None:
        shutil.copytree(local, self.local(remote), dirs_exist_ok=True)

    def pull(self, remote: str, local: Path) -> None:
        shutil.copytree(self.local(remote), local / Path(remote).name)

    def remove(self, *remote: str) -> None:
        for path in remote:
            shutil.rmtree(self.local(path), ignore_errors=True)

    def shell(self, command: str) -> str:
        words = command.split()
        if words[0] == "pm":
            return "package:base.apk"
        if words[0] == "cat":
            path = self.local(words[1])
            return path.read_text() if path.exists() else ""
        if words[0] == "am":
            self._start(words[words.index("request") + 1], words[words.index("result") + 1])
        return "1"

    def _start(self, request: str, result: str) -> None:
        check_format(json.loads((self.local(request) / "request.json").read_text()))
        spec = importlib.util.find_spec("ai_edge_litert")
        assert spec is not None
        assert spec.submodule_search_locations
        library = Path(spec.submodule_search_locations[0]) / "libLiteRt.so"
        downloads = fetch.cache()
        jars = [kotlin.one(downloads, name) for name in ("kotlin-stdlib", "json")]
        folders = [self._work / name for name in ("core", "core_test", "core_jdk22")]
        junit = kotlin.one(downloads, "junit-platform-console-standalone")
        path = ":".join(str(entry) for entry in (*folders, *jars, junit))
        subprocess.run(
            [
                *(str(kotlin.newer_java()), "--enable-native-access=ALL-UNNAMED", "-cp", path),
                *("io.github.bokehtflite.core.BenchmarkMain", str(library)),
                *(str(self.local(request)), str(self.local(f"{android.WRITTEN}/{result}"))),
            ],
            check=True,
            capture_output=True,
        )
        for name in ("status.json", "result.json"):
            written = self.local(f"{android.WRITTEN}/{result}") / name
            check_format(json.loads(written.read_text()))


def test_the_apps_benchmark_and_ours_understand_each_other(
    built: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kotlin.newer_java() is None:
        pytest.skip("no JDK 22 or later")
    phone = Phone(tmp_path / "phone", built / "work")
    monkeypatch.setattr(android, "Adb", lambda *_: phone)
    matrix = [
        BenchmarkCase(data / "small_float32.tflite", "cpu", None),
        BenchmarkCase(data / "small_float32.tflite", "gpu", None),
        BenchmarkCase(data / "small_float32.tflite", "nnapi", 2),
    ]
    full_model = FullModelReferences(None, None, None, lambda what: None)
    empty = Report("now", {}, [])
    (report,) = android.measure_android(empty, matrix, 5, 0, full_model, None, lambda what: None)
    one, gpu, nnapi = report.rows
    assert one.failure == ""
    assert one.latency is not None
    assert len(one.latency.runs_ms) == 5
    assert one.placement is not None
    assert one.placement.total_ops == 38
    fidelity = one.fidelity_to("full_model")
    assert fidelity is not None
    assert fidelity.psnr_db_worst > 130
    assert gpu.failure == "gpu: not on this machine"
    assert "deprecated from Android 15 on" in nnapi.failure
    assert report.environment["model"] == "a JVM"
    json.dumps(report.to_data(), allow_nan=False)
