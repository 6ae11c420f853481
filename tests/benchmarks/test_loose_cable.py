"""`--device android` with a phone that is gone for some time, without adb."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bokeh_bench.devices.android import measure as android
from bokeh_bench.devices.android.adb import Adb
from bokeh_bench.measure.cases import BenchmarkCase
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import Report, Row
from bokeh_runtime.errors import HardwareError

STATUS = '{"progress": "2 of 2: on gpu", "finished": %s}'


class Cable:
    """Stands for `Adb`, to a phone whose app has finished one row of two.

    Attributes:
        gone: Says of the number of a call whether the phone is gone then.
        app_runs: Whether the app still runs.
    """

    gone: Callable[[int], bool] = staticmethod(lambda call: False)
    app_runs = True
    serial = "X1"

    def __init__(self, root: Path) -> None:
        self.root, self.calls, self.removed = root, 0, list[str]()

    def is_attached(self) -> bool:
        return not self.gone(self.calls)

    def shell(self, command: str) -> str:
        self.calls += 1
        if self.gone(self.calls):
            return ""
        if "pidof" in command:
            return "1234" if self.app_runs else ""
        if command.startswith("cat"):
            return STATUS % ("true" if self.calls > 40 else "false")
        return {"pm": "package:x", "am": "Starting"}.get(command[:2], "")

    def push(self, local: Path, remote: str) -> None:
        pass

    def pull(self, remote: str, local: Path) -> None:
        self.calls += 1
        if self.gone(self.calls):
            raise HardwareError("android: adb pull failed (device 'X1' not found)")
        shutil.copytree(self.root, local / Path(remote).name, dirs_exist_ok=True)

    def remove(self, *remote: str) -> None:
        self.removed += remote


@pytest.fixture
def cable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cable:
    row = {
        "failure": "", "placement": {"requested": "cpu", "delegate": "cpu", "device": "a CPU",
                                     "delegated_ops": 43, "total_ops": 43},
        "load_ms": 1.0, "first_inference_ms": 2.0, "warm_up_runs": 1, "runs_ms": [3.0] * 5,
    }  # fmt: skip
    result = {"schema": android.RESULT_SCHEMA, "environment": {"model": "Fake 1"}, "rows": [row]}
    (tmp_path / android.RESULT).write_text(json.dumps(result))
    made = Cable(tmp_path)
    monkeypatch.setattr(android, "Adb", lambda *_: made)
    monkeypatch.setattr(android, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setattr(android, "_POLL_SECONDS", 0.001)
    return made


def rows(model: Path, seconds: float) -> list[Row]:
    cases = [BenchmarkCase(model, "cpu", None), BenchmarkCase(model, "gpu", None)]
    full_model = FullModelReferences(None, None, None, print)
    report = Report("now", {}, [])
    (report,) = android.measure_android(
        report, cases, 5, 0.0, full_model, None, lambda what: None, seconds
    )
    return list(report.rows)


def removed(cable: Cable) -> list[str]:
    return [path.rpartition("/")[0] for path in cable.removed]


def test_a_phone_that_comes_back_is_waited_for(cable: Cable, data: Path) -> None:
    # Also when its files are copied: the app says that it has finished at call 41.
    cable.gone = lambda call: 8 <= call <= 30 or 42 <= call <= 45
    one, other = rows(data / "small_rgbd.tflite", 30.0)
    assert (one.failure, other.failure_kind) == ("", "hardware")
    assert cable.calls > 45
    assert removed(cable) == [android.PUSHED, android.WRITTEN]


def test_a_phone_that_stays_away_is_said_and_keeps_what_it_has_measured(
    cable: Cable, data: Path
) -> None:
    cable.gone = lambda call: call >= 8
    start = time.monotonic()
    for row in rows(data / "small_rgbd.tflite", 0.2):
        assert row.failure.startswith(
            "android: X1 is gone for 0 s, at 2 of 2: on gpu; check the cable, and measure again; "
            f"what the app has measured stays on the phone, in {android.WRITTEN}/run-"
        )
    assert time.monotonic() - start < 10
    assert removed(cable) == [android.PUSHED]


def test_the_rows_of_an_app_that_ended_are_kept(cable: Cable, data: Path) -> None:
    cable.app_runs = False
    one, other = rows(data / "small_rgbd.tflite", 30.0)
    assert one.failure == ""
    assert other.failure.startswith("android: the app ended at 2 of 2: on gpu; adb -s X1 logcat")
    assert removed(cable) == [android.PUSHED, android.WRITTEN]


def test_adb_says_whether_a_phone_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "adb"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  devices) printf 'List of devices attached\\nX1\\tdevice\\n';;\n"
        f"  '-s X1 get-state') cat {tmp_path}/state;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    (tmp_path / "state").write_text("device\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    phone = Adb(None)
    assert phone.is_attached()
    (tmp_path / "state").write_text("offline\n")
    assert not phone.is_attached()
    (tmp_path / "state").unlink()  # the program fails, as adb does without the phone
    assert not phone.is_attached()
