"""What is true on macOS and Windows too, as far as Linux can tell.

`tests/windows/sitecustomize.py` makes the commands' processes obey what Windows lacks and forbids.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pytest

import bokeh_runtime
from bokeh_bench import child_process, machine
from bokeh_bench.devices.arm64 import environment, runner
from bokeh_runtime import windows_files
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.backends import processor
from bokeh_runtime.backends.native_log import capture_native_log
from bokeh_runtime.errors import InputError
from helpers import commands
from offline_build import __main__ as offline_build

WINDOWS = str(Path(__file__).parent / "windows")
ROOT = Path(__file__).parents[1]
FOLDERS = ("runtime/bokeh_runtime", "convert/bokeh_convert", "benchmarks/bokeh_bench")
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "select", "termios"}
OPEN = "another program has it open"
LOCK = ".bokeh-tflite.lock"  # filelock removes it on Windows, which cannot be shown here


def command(
    name: str, *arguments: object, cwd: Path, opened: Path | str = ""
) -> subprocess.CompletedProcess[str]:
    return commands.command(
        name,
        *arguments,
        cwd=cwd,
        PYTHONPATH=WINDOWS,
        BOKEH_TESTS_OPEN=str(opened),
        XDG_CACHE_HOME=str(cwd / "cache"),
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


@pytest.fixture
def photo(tmp_path: Path, rng) -> Path:
    path = tmp_path / "photo.png"
    pixels = rng.integers(0, 256, (40, 60, 3)).astype("uint8")
    bokeh_runtime.write_photo(path, bokeh_runtime.Photo(pixels))
    return path


def test_the_stand_in_for_windows_hides_and_refuses(tmp_path: Path) -> None:
    program = """
import os, sys
for name in ("fcntl", "resource", "pty"):
    try:
        __import__(name)
    except ImportError:
        print("no", name)
from bokeh_runtime.windows_files import ON_WINDOWS
print(ON_WINDOWS, hasattr(os, "killpg"), hasattr(os, "getuid"))
for name in ("nul.txt", "a:b", "end. "):
    try:
        open(name, "w")
    except OSError as error:
        print(error.winerror)
with open("held", "w"):
    for change in (os.unlink, lambda held: os.replace("other", held)):
        try:
            change("held")
        except PermissionError as error:
            print(error.winerror)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": WINDOWS},
        capture_output=True,
        text=True,
        check=True,
    )
    hidden = ["no fcntl", "no resource", "no pty", "True False False"]
    assert done.stdout.splitlines() == [*hidden, *["123"] * 3, *["32"] * 2]


def test_no_module_needs_a_posix_module_to_be_imported() -> None:
    """Inside of functions they may be imported, where the function knows what to do without."""
    needed = []
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.Import):
                    found = {alias.name for alias in node.names}
                else:
                    found = {node.module} if isinstance(node, ast.ImportFrom) else set()
                if found & POSIX_MODULES:
                    needed.append(path.name)
    assert not needed


@pytest.mark.slow
def test_every_module_is_imported_without_what_is_posix_alone(tmp_path: Path) -> None:
    program = """
import importlib, pkgutil
import bokeh_bench, bokeh_convert, bokeh_runtime
for package in (bokeh_runtime, bokeh_convert, bokeh_bench):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__") and "arm64.guest" not in module.name:
            importlib.import_module(module.name)
            print(module.name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": WINDOWS, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 100


@pytest.mark.slow
def test_a_model_is_converted_again_over_its_files(data: Path, tmp_path: Path) -> None:
    # Named otherwise than Keras wants it, which is mended with a link where links may be made.
    model = tmp_path / "model.hdf5"
    model.write_bytes((data / "keras2_moments.h5").read_bytes())
    asked = (model, "--quant", "float16", "--size", "32x32", "-o", "out")
    first = command("bokeh-convert", *asked, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    before = contents(tmp_path / "out")
    assert set(before) >= {"model_float16.tflite", "model.reference.npz"}
    opened = tmp_path / "out" / "model_float16.report.json"
    refused = command("bokeh-convert", *asked, cwd=tmp_path, opened=opened)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert OPEN in line
    assert opened.name in line
    assert "no file was changed" in line
    assert contents(tmp_path / "out") == before
    again = command("bokeh-convert", *asked, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = contents(tmp_path / "out")
    assert after.keys() == before.keys()
    assert after["model_float16.tflite"] == before["model_float16.tflite"]


@pytest.mark.slow
def test_a_photo_is_rendered_over_an_earlier_one(photo: Path, data: Path, tmp_path: Path) -> None:
    asked = ("bokeh-render", photo, "-d", "cpu", "-m", data / "small_int8.tflite", "-o")
    for _ in range(2):
        done = command(*asked, "out.jpg", "--compare", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    before = contents(tmp_path)
    refused = command(
        *asked, "out.jpg", "--compare", "--strength", 0.5, cwd=tmp_path, opened=tmp_path / "out.jpg"
    )
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert OPEN in line
    assert "out.jpg" in line
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_a_folder_is_rendered(photo: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo.rename(tmp_path / "photos" / photo.name)
    asked = ("photos", "-o", "out", "-d", "cpu", "-m", data / "small_int8.tflite")
    for _ in range(2):
        done = command("bokeh-render", *asked, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert set(contents(tmp_path / "out")) == {photo.name, ".bokeh-render.json"}


@pytest.mark.parametrize("links", ["yes", "no"])
@pytest.mark.parametrize("held", ["a", "b", "c"])
def test_files_appear_together_or_not_at_all_while_one_is_open(
    links: str, held: str, tmp_path: Path
) -> None:
    program = """
import pathlib, sys
from bokeh_runtime.atomic_output import AtomicOutput
from bokeh_runtime.errors import InputError
folder = pathlib.Path(sys.argv[1])
def write(text):
    with AtomicOutput(folder) as staging:
        for name in ("a", "b", "c"):
            staging.path(name).write_text(text)
        staging.commit()
write("old")
with (folder / sys.argv[2]).open():
    try:
        write("new")
    except InputError as error:
        print(error)
print({path.name: path.read_text() for path in folder.iterdir() if path.name in ("a", "b", "c")})
write("new")
print([path.read_text() for path in folder.iterdir() if path.name in ("a", "b", "c")])
print([path.name for path in folder.iterdir() if path.name.startswith(".bokeh-tflite-run")])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path, held],
        env={**os.environ, "PYTHONPATH": WINDOWS, "BOKEH_TESTS_HARD_LINKS": links},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refusal, after, again, rest = done.stdout.splitlines()
    assert refusal.startswith(f"{tmp_path / held}: cannot be replaced ({OPEN}")
    assert refusal.endswith("no file was changed")
    assert ast.literal_eval(after) == dict.fromkeys("abc", "old")
    assert (again, rest) == (str(["new"] * 3), "[]")


@pytest.mark.parametrize("name", ["nul.jpg", "CON.png", "out:stream.jpg", "what?.jpg"])
def test_a_result_is_not_written_to_a_device_or_a_stream(
    name: str, photo: Path, data: Path, tmp_path: Path
) -> None:
    done = command(
        "bokeh-render", photo, "-o", name, "-d", "cpu", "-m", data / "small_int8.tflite",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{name}: Windows allows no file of that name" in line


@pytest.mark.slow
def test_a_model_is_benched_again_over_its_report(data: Path, tmp_path: Path) -> None:
    asked = (data / "small_int8.tflite", "-d", "cpu", "--runs", 5, "--seconds", 0)
    done = command("bokeh-bench", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    before = contents(tmp_path / "bench")
    (row,) = json.loads(before["report.json"])["rows"]
    assert 20e6 < row["peak_rss_bytes"] < 1e9
    assert row["operator_times"]
    refused = command(
        "bokeh-bench", *asked, cwd=tmp_path, opened=tmp_path / "bench" / "report.html"
    )
    assert refused.returncode == 2
    assert OPEN in refused.stderr.splitlines()[-1]
    assert contents(tmp_path / "bench") == before


@pytest.mark.parametrize(
    "name",
    ["con", "NUL.txt", "Com1.tar.gz", "lpt\u00b9", "aux .jpg", "a.", "a ", "a<b", "a|b", "\x07"],
)
def test_names_that_windows_has_no_files_for(name: str) -> None:
    assert windows_files.is_reserved(name)


@pytest.mark.parametrize("name", ["console.txt", "com10", "nul_.jpg", ".hidden", "a b.jpg", "写真"])
def test_names_that_windows_takes(name: str) -> None:
    assert not windows_files.is_reserved(name)


def test_such_names_are_taken_elsewhere(tmp_path: Path) -> None:
    with AtomicOutput(tmp_path) as staging:
        staging.path("nul: 5?").write_text("text")
        staging.commit()
    assert (tmp_path / "nul: 5?").read_text() == "text"


def open_elsewhere() -> PermissionError:
    error = PermissionError(errno.EACCES, "being used by another process")
    error.winerror = 32  # type: ignore[attr-defined]
    return error


def test_a_file_that_a_scanner_holds_for_a_moment_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, refusals = os.replace, [open_elsewhere(), open_elsewhere()]

    def sometimes(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        replace(source, target)

    monkeypatch.setattr(os, "replace", sometimes)
    (tmp_path / "new").write_text("new")
    windows_files.replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    assert not refusals


def test_an_error_that_waiting_does_not_mend_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def never(source: Path, target: Path) -> None:
        calls.append(source)
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", never)
    with pytest.raises(PermissionError):
        windows_files.replace(tmp_path / "new", tmp_path / "old")
    assert len(calls) == 1


def test_a_child_and_its_children_end_without_process_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "killpg")
    program = (
        "import subprocess, sys, time\n"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(one.pid))\n"
        "time.sleep(1000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    grandchild = psutil.Process(int((tmp_path / "pid").read_text()))
    child_process.kill(process)
    assert process.returncode is not None
    _, alive = psutil.wait_procs([grandchild], timeout=60)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    child_process.kill(process)  # it has ended


def test_peak_memory_is_in_bytes_on_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda path: None)  # no /proc
    resource = ModuleType("resource")
    resource.RUSAGE_SELF = 0  # type: ignore[attr-defined]
    resource.getrusage = lambda who: SimpleNamespace(ru_maxrss=3000)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "resource", resource)
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="linux"))
    assert machine.peak_rss_bytes() == 3000 * 1024
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="darwin"))
    assert machine.peak_rss_bytes() == 3000
    monkeypatch.setitem(sys.modules, "resource", None)
    windows = SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=5000, rss=1))
    monkeypatch.setattr(psutil, "Process", lambda: windows)
    assert machine.peak_rss_bytes() == 5000


def test_the_processors_name_on_each_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = (processor._from_cpuinfo(), processor.platform.machine())
    assert processor.cpu_name() in here
    monkeypatch.setattr(processor, "sys", SimpleNamespace(platform="darwin"))
    sysctl = tmp_path / "sysctl"
    sysctl.write_text('#!/bin/sh\n[ "$1 $2" = "-n machdep.cpu.brand_string" ] && echo Apple M9\n')
    sysctl.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        assert processor.cpu_name() == "Apple M9"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert processor.cpu_name() == (processor.platform.processor() or here[1])
    monkeypatch.setattr(processor, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setitem(sys.modules, "winreg", Registry())
    assert processor.cpu_name() == "A CPU of Windows"


class Registry(ModuleType):
    """Windows' registry, as the module `winreg` reads it."""

    HKEY_LOCAL_MACHINE = 7

    def __init__(self) -> None:
        super().__init__("winreg")

    def OpenKey(self, root: int, path: str):  # noqa: N802 - its name there
        assert (root, path) == (7, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0")
        return self

    def QueryValueEx(self, key: object, name: str) -> tuple[str, int]:  # noqa: N802
        assert key is self
        assert name == "ProcessorNameString"
        return "A CPU of Windows  ", 1

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_the_log_is_read_without_pread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pread")
    with capture_native_log() as log:
        os.write(2, b"one\n")
        assert log() == "one\n"
        os.write(2, b"two\n")
        assert log() == "one\ntwo\n"


def test_what_is_on_linux_alone_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    macos = SimpleNamespace(platform="darwin")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "sys", macos)
        with pytest.raises(runner.MissingEnvironmentError, match="on Linux alone"):
            runner.ArmRunner(tmp_path)
        patch.setattr(environment, "sys", macos)
        with pytest.raises(InputError, match="on Linux alone"):
            environment.set_up(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    stub = SimpleNamespace(platform="win32", stderr=sys.stderr, exit=sys.exit)
    monkeypatch.setattr(offline_build, "sys", stub)
    monkeypatch.setattr(sys, "argv", ["offline_build", "--output", str(tmp_path / "apk")])
    with pytest.raises(SystemExit) as ended:
        offline_build.main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Linux alone" in line
    assert not (tmp_path / "apk").exists()


def test_the_bench_says_that_an_emulated_phone_needs_linux(data: Path, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom bokeh_bench.devices.arm64 import runner\n"
        "runner.sys = type(sys)('sys')\nrunner.sys.platform = 'darwin'\n"
        "from bokeh_bench.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(data / "small_int8.tflite"), "--device", "arm64"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line == f"bokeh-bench: {runner.NEEDS_LINUX}"


def test_a_worker_that_is_silent_is_noticed_by_a_thread(tmp_path: Path) -> None:
    """Windows cannot wait for a pipe with a limit, so that a thread reads it; it must end too."""
    from bokeh_bench.workers.process import Worker

    before = threading.active_count()
    program = (sys.executable, "-c", "print('{\"done\": 1}', flush=True); input(); input()")
    with Worker({}, 60.0, program) as worker:
        assert worker.call("anything") == {"done": 1}
    give_up = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < give_up:
        time.sleep(0.05)
    assert threading.active_count() == before
