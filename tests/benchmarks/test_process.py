"""Processes that hang are killed with their children, and become rows with the reason."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bokeh_bench import child_process
from bokeh_bench.devices.arm64.runner import ArmRunner
from bokeh_bench.measure.operator_times import measure_operator_times
from bokeh_bench.studies import agreement, converters, rendering
from bokeh_bench.workers.process import Worker
from bokeh_runtime import HardwareError, InputError
from bokeh_runtime.tflite.file import read_tflite
from helpers import commands
from offline_build import run as offline
from offline_build.errors import BuildError

SHORT = 2.0  # s; the limit of what hangs
LONG = 120.0  # s; nothing waits for so long unless it fails
HANGING = "sleep 100000 & echo started; wait"


class Life:
    """Detects when all processes that opened a pipe have ended."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "life"
        os.mkfifo(self.path)
        # Not blocking, since nobody writes yet.
        self._reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)

    def has_ended(self) -> bool:
        """Waits until the writers that there were are gone."""
        os.set_blocking(self._reader, True)
        ready, _, _ = select.select([self._reader], [], [], LONG)
        ended = bool(ready) and os.read(self._reader, 1) == b""
        os.close(self._reader)
        return ended


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_a_child_that_ends_returns_what_it_printed(tmp_path: Path) -> None:
    program = "import os, sys; print(os.getcwd(), os.environ['WORD']); sys.exit('no')"
    done = child_process.run(
        [sys.executable, "-c", program],
        seconds=LONG,
        folder=tmp_path,
        environment={**os.environ, "WORD": "a word"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, f"{tmp_path} a word\n", "no\n")
    assert child_process.run(["sh", "-c", "read x; echo $?"], seconds=LONG).stdout == "1\n"
    merged = child_process.run(["sh", "-c", "echo a; echo b >&2"], seconds=LONG, merge_stderr=True)
    assert merged.stdout == "a\nb\n"
    with pytest.raises(FileNotFoundError):
        child_process.run([tmp_path / "nothing"], seconds=LONG)


def test_a_child_that_hangs_ends_with_all_that_it_started(life: Life) -> None:
    # Bound to the pipe by three generations, of which one ignores what it is sent.
    script = f"exec 9>{life.path}; trap '' TERM INT HUP; sh -c 'sleep 100000 & wait' & {HANGING}"
    with pytest.raises(child_process.TimeLimitError, match="did not end within 2 s"):
        child_process.run(["sh", "-c", script], seconds=SHORT)
    assert life.has_ended()


def test_a_child_that_ends_while_others_hold_its_output_hangs_too(life: Life) -> None:
    with pytest.raises(child_process.TimeLimitError):
        child_process.run(["sh", "-c", f"exec 9>{life.path}; sleep 100000 &"], seconds=SHORT)
    assert life.has_ended()


def test_an_interrupted_wait_ends_the_child(life: Life) -> None:
    def interrupt() -> None:
        with life.path.open("rb", buffering=0):  # until the child has opened it
            os.kill(os.getpid(), signal.SIGINT)

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            child_process.run(["sh", "-c", f"exec 9>{life.path}; {HANGING}"], seconds=LONG)
    finally:
        signal.signal(signal.SIGINT, old)
    assert life.has_ended()


def test_a_worker_that_hangs_is_a_hardware_error(life: Life) -> None:
    program = ["sh", "-c", f"exec 9>{life.path}; {HANGING.replace('echo started; ', '')}"]
    with Worker({}, SHORT, program) as worker:
        with pytest.raises(HardwareError, match=r"no answer for 2 s during the task open: .*hang"):
            worker.call("open")
        assert life.has_ended()
        with pytest.raises(HardwareError, match="ended with signal 9"):
            worker.call("open")


def test_a_worker_that_sends_half_a_line_hangs_too() -> None:
    program = ["sh", "-c", "printf '{\"ms\"'; sleep 100000"]
    with Worker({}, SHORT, program) as worker, pytest.raises(HardwareError, match="no answer for"):
        worker.call("time_one_run")


def test_a_worker_that_reports_progress_may_take_longer() -> None:
    beat = "sleep 1; echo '{\"alive\": true}'; "
    program = ["sh", "-c", f"read x; {beat * 6} printf '{{\"ms\"'; sleep 1; echo ': 5}}'; read x"]
    began = time.monotonic()
    with Worker({}, 5.0, program) as worker:
        assert worker.call("time_one_run") == {"ms": 5}
    assert time.monotonic() - began > 5.0


def test_a_worker_that_dies_says_how() -> None:
    program = ["sh", "-c", "read x; echo why >&2; kill -SEGV $$"]
    with (
        Worker({}, LONG, program) as worker,
        pytest.raises(HardwareError, match=r"ended with signal 11 \(why\)"),
    ):
        worker.call("open")


def test_a_measurement_reports_each_second_that_it_runs(data: Path) -> None:
    request = {"model": str(data / "small_float16.tflite"), "delegate": "cpu", "threads": 1}
    program = [sys.executable, "-m", "bokeh_bench.workers.latency", json.dumps(request)]
    tasks = '{"task": "open"}\n{"task": "time", "runs": 5, "seconds": 3}\n'
    done = subprocess.run(
        program, input=tasks, capture_output=True, text=True, check=True, timeout=LONG
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert "placement" in answers[0]
    assert {"alive": True} in answers
    assert len(answers[-1]["runs_ms"]) >= 5


@pytest.mark.slow
def test_a_driver_that_hangs_is_a_row_with_the_reason(data: Path, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source = tmp_path / "hang.c"
    source.write_text(
        "#include <unistd.h>\nvoid* tflite_plugin_create_delegate() { for (;;) pause(); }"
    )
    library = tmp_path / "libhang.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    done = commands.command(
        "bokeh-bench", data / "small_float32.tflite", "-dgpu,nnapi", "--delegate-library", library,
        "--timeout=5", "--runs=5", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    rows = json.loads((tmp_path / "bench/report.json").read_text())["rows"]
    assert [row["failure_kind"] for row in rows] == ["hardware", "hardware"]
    assert "no answer for 5 s during the task open" in rows[0]["failure"]
    assert "try another --delegate" in rows[0]["failure"]


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_is_a_positive_number(value: str, tmp_path: Path) -> None:
    done = commands.command("bokeh-bench", f"--timeout={value}", cwd=tmp_path)
    assert done.returncode == 2
    assert "--timeout" in done.stderr


@pytest.fixture
def hanging_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is started with this interpreter hangs."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{HANGING}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_operators_that_hang_have_a_note(hanging_python: None, data: Path) -> None:
    found, why = measure_operator_times(read_tflite(data / "small_int8.tflite"), "cpu", 1, SHORT)
    assert (found, why) == ([], "profiling the operators did not end within 2 s")


def test_other_programs_that_hang_are_reported(
    hanging_python: None, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = data / "small_int8.tflite"
    monkeypatch.setattr(child_process, "TIMEOUT_SECONDS", SHORT / 10)
    monkeypatch.setattr(converters, "CONVERSION_SECONDS", SHORT)
    monkeypatch.setattr(agreement, "_LITERT_SECONDS", SHORT)
    settings = converters.Settings((64, 96), None, threads=1)
    calls: list[tuple[Any, str]] = [
        (
            lambda: converters.convert_in_process(model, "a b", settings, tmp_path),
            "a b did not end",
        ),
        (lambda: agreement._litert_ms(model, 1), "LiteRT's benchmark did not end within"),
        (
            lambda: rendering._time_stages(model, Path("a.jpg"), tmp_path, 1),
            "a.jpg: rendering .* did not",
        ),
    ]
    for call, message in calls:
        with pytest.raises(InputError, match=message):
            call()


def test_a_rendering_that_fails_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg: cannot be rendered with .*none.tflite"):
        rendering._time_stages(tmp_path / "none.tflite", Path("a.jpg"), tmp_path, 1)


def test_an_emulator_that_hangs_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("root", "site", "count.so"):
        (tmp_path / name).touch()
    monkeypatch.setattr(ArmRunner, "_command", lambda *_: ["sh", "-c", HANGING])
    with pytest.raises(RuntimeError, match="the model did not end within 2 s on cortex-a76"):
        ArmRunner(tmp_path, seconds=SHORT / 2).run(b"", np.zeros((1, 4, 4, 3), np.uint8))


def test_a_build_tool_that_hangs_is_reported(life: Life) -> None:
    script = f"exec 9>{life.path}; {HANGING}"
    with pytest.raises(BuildError, match="compiling did not end within 2 s"):
        offline.run("compiling", ["sh", "-c", script], seconds=SHORT)
    assert life.has_ended()
