"""Redirections restore standard output and standard error, however they overlap."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bokeh_runtime import BokehModel, HardwareError
from bokeh_runtime.backends.native_log import capture_native_log, hide_native_log
from bokeh_runtime.tflite.file import read_tflite
from helpers.fake_litert import FakeLitert, Outcome
from helpers.skips import ELSEWHERE

LONG = 60.0  # s; nothing waits for so long unless it fails
A_MOMENT = 0.5  # s; for a thread to come where it must not


def files() -> list[tuple[int, int]]:
    """What standard output and error are."""
    return [(status.st_dev, status.st_ino) for status in map(os.fstat, (1, 2))]


def program(text: str, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"import os, sys, threading\n{text}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
        **how,  # type: ignore[call-overload]
    )


def test_output_of_native_code_is_captured() -> None:
    before = files()
    with capture_native_log() as log:
        os.write(2, b"one\n")
        assert log() == "one\n"
        os.write(2, b"two\n")
        with capture_native_log() as inner:
            os.write(2, b"three\n")
            assert inner() == "three\n"
        os.write(2, b"four\n")
        assert log() == "one\ntwo\nfour\n"
    assert files() == before


def test_overlapping_threads_restore_the_descriptors() -> None:
    before = files()
    entered, leave = threading.Event(), threading.Event()
    logs: list[str] = []

    def second() -> None:
        with capture_native_log() as log:
            entered.set()
            os.write(2, b"second\n")
            assert leave.wait(LONG)
            logs.append(log())

    thread = threading.Thread(target=second)
    with capture_native_log() as log:
        os.write(2, b"first\n")
        thread.start()
        entered.wait(A_MOMENT)
        logs.append(log())
    # Had the second begun before the first ended, it would have kept the first one's file.
    assert entered.wait(LONG)
    leave.set()
    thread.join(LONG)
    assert files() == before
    assert logs == ["first\n", "second\n"]


@pytest.mark.parametrize("first_ends_first", [True, False])
@pytest.mark.parametrize("inner", [lambda: hide_native_log(verbose=False), capture_native_log])
def test_a_command_and_a_thread_may_end_in_any_order(
    first_ends_first: bool, inner: Callable[[], object]
) -> None:
    before = files()
    there, end, ended = threading.Event(), threading.Event(), threading.Event()

    def other() -> None:
        with inner():  # type: ignore[attr-defined]
            there.set()
            assert end.wait(LONG)
        ended.set()

    thread = threading.Thread(target=other)
    with hide_native_log(verbose=False):
        thread.start()
        assert there.wait(LONG)
        if not first_ends_first:
            end.set()
            assert ended.wait(LONG)
    end.set()
    thread.join(LONG)
    assert files() == before


def test_two_threads_may_open_models_and_none_loses_a_line(
    data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    litert = FakeLitert().install(monkeypatch)
    litert.like_the_cpu(read_tflite(data / "small_float16.tflite"))
    together = threading.Barrier(2, timeout=LONG)
    litert.on = lambda *_: Outcome("INFO: [a.cc:1] a line of LiteRT's\n", accelerated=False)
    before = files()
    capfd.readouterr()

    def opened(number: int) -> None:
        together.wait()
        for turn in range(20):
            with pytest.raises(HardwareError):
                BokehModel.open(data / "small_float16.tflite", "gpu")
            os.write(1, f"{number} {turn}\n".encode())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(opened, range(2)))
    assert files() == before
    out, err = capfd.readouterr()
    assert sorted(out.splitlines()) == sorted(f"{n} {turn}" for n in range(2) for turn in range(20))
    assert "OpenCL" not in out
    assert "a line of LiteRT's" not in err


def test_the_programs_own_output_is_forwarded() -> None:
    done = program(
        "from bokeh_runtime.backends.native_log import capture_native_log\n"
        "print('before')\n"
        "with capture_native_log() as log:\n"
        "    print('within')\n"
        "    os.write(1, b'INFO: Failed to load OpenCL library with dlopen: none\\n')\n"
        "    os.write(1, b'from a thread\\n')\n"
        "    os.write(2, b'native\\n')\n"
        "    assert 'native' in log() and 'OpenCL' in log()\n"
        "print('after')\n"
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["after", "before", "from a thread", "within"]
    assert done.stdout.startswith("before\n")
    assert done.stdout.endswith("after\n")
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason=f"{ELSEWHERE}Linux")
def test_no_folder_for_temporary_files_is_needed() -> None:
    done = program(
        "import tempfile\n"
        "from bokeh_runtime.backends.native_log import capture_native_log\n"
        "def fail():\n"
        "    raise FileNotFoundError('no usable temporary directory')\n"
        "tempfile.TemporaryFile = fail\n"
        "with capture_native_log() as log:\n"
        "    os.write(2, b'native\\n')\n"
        "    print(log())\n"
    )
    assert done.returncode == 0, done.stderr
    assert "native" in done.stdout


@pytest.mark.parametrize(
    "without",
    [
        "sys.stdout = sys.stderr = None",  # pythonw
        "sys.stdout.close(); sys.stderr.close()",
        "os.close(1)",
        "os.close(2)",
        "os.close(0); os.close(1); os.close(2); sys.stdin = sys.stdout = sys.stderr = None",
    ],
)
def test_the_log_is_captured_without_standard_streams(without: str, tmp_path: Path) -> None:
    done = program(
        "from bokeh_runtime.backends.native_log import capture_native_log, hide_native_log\n"
        "def open_ones():\n"
        "    found = []\n"
        "    for number in (0, 1, 2):\n"
        "        try:\n"
        "            found.append((number, os.fstat(number).st_ino))\n"
        "        except OSError:\n"
        "            pass\n"
        "    return found\n"
        f"{without}\n"
        "before, captured = open_ones(), []\n"
        "for _ in range(2):\n"
        "    with hide_native_log(False) as stderr:\n"
        "        stderr.write('shown')\n"
        "        with capture_native_log() as log:\n"
        "            os.write(2, b'native')\n"
        "            captured.append(log())\n"
        "with hide_native_log(True):\n"
        "    pass\n"
        "after = open_ones()\n"
        f"with open({str(tmp_path / 'captured')!r}, 'w') as file:\n"
        "    file.write(f'{captured} {after == before}')\n"
    )
    # A closed stream that Python would flush at its end is this program's doing.
    assert "Traceback" not in done.stderr
    assert (tmp_path / "captured").read_text() == "['native', 'native'] True"


def test_the_exit_handler_is_registered_once() -> None:
    done = program(
        "import atexit\n"
        "from bokeh_runtime.backends.native_log import hide_native_log\n"
        "asked = []\n"
        "atexit.register = asked.append\n"
        "for _ in range(3):\n"
        "    with hide_native_log(False):\n"
        "        pass\n"
        "print(len(asked))\n"
    )
    assert done.stdout == "1\n", done.stderr


def test_an_unexpected_error_shows_the_hidden_messages(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with hide_native_log(verbose=False) as stderr:
            stderr.write("shown\n")
            os.write(2, b"why\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert capfd.readouterr().err == "shown\nwhy\n"
