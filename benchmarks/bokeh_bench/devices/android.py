"""Measures on a phone, over adb, with the sample app's benchmark activity.

The contract with the app is docs/android-benchmark.md; `tests/helpers/fake_phone.py` keeps the
app's side of it in tests.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.devices.phone_answer import read_answer
from bokeh_bench.measure.fidelity import fidelity_of
from bokeh_bench.measure.latency import Latency
from bokeh_bench.measure.matrix import WARM_UP_SECONDS, Cell, Subject, read_subject
from bokeh_bench.measure.references import FullModel
from bokeh_bench.measure.rows import Report, Row
from bokeh_runtime.backends.placement import Placement
from bokeh_runtime.errors import HardwareError, InputError, printable
from bokeh_runtime.imaging.photo import FloatImage

PACKAGE = "io.github.bokehtflite"
ACTIVITY = f"{PACKAGE}/.BenchmarkActivity"
APK = "build/android/bokeh-demo.apk"
REQUEST_SCHEMA = "bokeh-tflite/android-request/2"
STATUS_SCHEMA = "bokeh-tflite/android-status/2"
RESULT_SCHEMA = "bokeh-tflite/android-result/2"
PUSHED = "/data/local/tmp/bokeh-bench"
INTERRUPTED = "interrupted"
WRITTEN = f"/sdcard/Android/data/{PACKAGE}/files/bench"
_POLL_SECONDS = 1.0
_CLEAN_UP_SECONDS = 30.0


class Adb:
    """The program `adb`, and one phone.

    Args:
        serial: Of the phone; None takes the only one.
        seconds: The limit for each call of adb.

    Raises:
        HardwareError: If adb is not installed or hangs, or the phone is not there or not ready.
        InputError: If there are several phones and none was named.
    """

    def __init__(self, serial: str | None, seconds: float = child_process.SECONDS) -> None:
        self._seconds = seconds
        program = shutil.which("adb")
        if program is None:
            raise HardwareError("android: adb is not installed; apt install adb")
        self._command = [program]
        self.serial = _choose(self._run("devices").splitlines()[1:], serial)
        self._command += ["-s", self.serial]

    def shell(self, command: str) -> str:
        """Returns what a command on the phone prints; old phones tell no exit codes."""
        return self._run("shell", command).replace("\r\n", "\n").strip()

    def push(self, local: Path, remote: str) -> None:
        """Copies a folder's content to the phone."""
        self._run("push", f"{local}/.", remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copies a folder from the phone into a folder."""
        self._run("pull", remote, str(local))

    def remove(self, *remote: str) -> None:
        """Removes folders from the phone, if it lets us in a while: at the end of all."""
        self._seconds = min(self._seconds, _CLEAN_UP_SECONDS)
        with contextlib.suppress(HardwareError):
            self.shell(f"rm -rf {' '.join(remote)}")

    def _run(self, *words: str) -> str:
        try:
            done = child_process.run([*self._command, *words], seconds=self._seconds)
        except child_process.TimeLimitError as error:
            raise HardwareError(
                f"android: adb {words[0]} {error}; check the cable, or adb kill-server"
            ) from error
        if done.returncode and words[0] != "shell":
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no word why"]
            raise HardwareError(f"android: adb {words[0]} failed ({lines[-1]}); check the cable")
        return done.stdout


def measure_android(
    report: Report,
    matrix: Sequence[Cell],
    runs: int,
    seconds: float,
    full_model: FullModel,
    serial: str | None,
    say: Callable[[str], None],
    timeout_seconds: float = child_process.SECONDS,
) -> Iterator[Report]:
    """Has the app measure, and yields the report with the phone's rows.

    If the app ends before all is measured, as where a GPU's driver takes it down, or the phone
    does not answer any more, the rows that it wrote are kept and the others say why they are
    missing.

    Args:
        report: To which the rows are added.
        matrix: What to measure.
        runs: At least so many timed runs.
        seconds: And for so long.
        full_model: What the pictures are held against.
        serial: Of the phone; None takes the only one.
        say: Told what is being done.
        timeout_seconds: The limit for each call of adb; and an app that says nothing of a row for
            so long, beyond the time that it was asked to measure, is given up.

    Raises:
        HardwareError: If there is no phone, no app on it, or what it writes cannot be read.
        InputError: If a model cannot be read.
    """
    subjects = {path: read_subject(path, full_model) for path in {cell.model for cell in matrix}}
    phone = Adb(serial, timeout_seconds)
    if not phone.shell(f"pm path {PACKAGE}").startswith("package:"):
        raise HardwareError(
            f"android: {PACKAGE} is not on {phone.serial}; make android, then adb install -r {APK}"
        )
    run = f"run-{secrets.token_hex(4)}"
    pushed, written = f"{PUSHED}/{run}", f"{WRITTEN}/{run}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pushed").mkdir()
        _write_request(folder / "pushed", matrix, subjects, runs, seconds)
        environment, rows = report.environment, list[Row]()
        try:
            say(f"copying {len(subjects)} models to {phone.serial}")
            missing = _start(phone, folder / "pushed", pushed, run)
            if not missing:
                limit = timeout_seconds + WARM_UP_SECONDS + seconds
                missing, found = _finish(phone, written, folder, limit, say)
                if found:
                    folder /= run
                    environment, rows = _read_result(folder, phone.serial, matrix, subjects)
        finally:
            phone.remove(pushed, written)
    failed = [
        replace(_empty(cell, subjects, phone.serial), failure=missing, failure_kind="hardware")
        for cell in matrix[len(rows) :]
    ]
    yield replace(report, environment=environment, rows=[*rows, *failed])
    if missing == INTERRUPTED:
        raise KeyboardInterrupt


def _start(phone: Adb, local: Path, pushed: str, run: str) -> str:
    """Starts the app, and returns why it does not start ("" if it does)."""
    try:
        phone.shell(f"mkdir -p {pushed}")
        phone.push(local, pushed)
        phone.shell(f"chmod -R a+rX {PUSHED}")
        started = phone.shell(f"am start -n {ACTIVITY} --es request {pushed} --es result {run}")
    except HardwareError as error:
        return str(error)
    lines = started.splitlines() if "Error" in started else []
    return f"android: the app does not start ({lines[-1]})" if lines else ""


def _finish(
    phone: Adb, written: str, folder: Path, limit: float, say: Callable[[str], None]
) -> tuple[str, bool]:
    """Waits for the app; returns why it did not finish ("" if it did), and if its rows came."""
    missing = ""
    try:
        missing = _wait(phone, written, limit, say)
        phone.pull(written, folder)
    except KeyboardInterrupt:
        missing = INTERRUPTED
        phone.pull(written, folder)
    except HardwareError as error:  # adb does not answer
        return missing or str(error), False
    return missing, True


def _choose(lines: Sequence[str], serial: str | None) -> str:
    states = dict(line.split("\t")[:2] for line in lines if "\t" in line)
    if serial is None:
        if not states:
            raise HardwareError(
                "android: no phone is attached; connect one with USB debugging on (adb devices "
                "lists it)"
            )
        if len(states) > 1:
            raise InputError(
                f"--device android: several phones; give one of android:{', android:'.join(states)}"
            )
        serial = next(iter(states))
    state = states.get(serial)
    if state is None:
        raise HardwareError(f"android: no phone {serial} is attached; adb devices lists them")
    if state != "device":
        raise HardwareError(
            f"android: {serial} is {state}; unlock it, allow USB debugging on its screen, try again"
        )
    return serial


def _write_request(
    folder: Path,
    matrix: Sequence[Cell],
    subjects: dict[Path, Subject],
    runs: int,
    seconds: float,
) -> None:
    inputs = {}
    for path, subject in subjects.items():
        shutil.copyfile(path, folder / path.name)
        if subject.expectations:
            pixels = np.stack([one.pixels for one in subject.expectations])
            (folder / f"{path.name}.u8").write_bytes(pixels.tobytes())
            inputs[path.name] = {"file": f"{path.name}.u8", "shape": list(pixels.shape)}
    request = {
        "schema": REQUEST_SCHEMA,
        "min_runs": runs,
        "min_seconds": seconds,
        "max_warm_up_seconds": WARM_UP_SECONDS,
        "rows": [
            {"model": cell.model.name, "delegate": cell.delegate, "threads": cell.threads}
            for cell in matrix
        ],
        "inputs": inputs,
    }
    (folder / "request.json").write_text(json.dumps(request, indent=1), encoding="utf-8")


def _wait(phone: Adb, written: str, limit: float, say: Callable[[str], None]) -> str:
    """Waits for the app, and returns why it did not finish ("" if it did)."""
    last, heard, gone = "", time.monotonic(), 0
    while True:
        status = phone.shell(f"cat {written}/status.json 2>/dev/null")
        if status != last:
            last, heard = status, time.monotonic()
        try:
            state = json.loads(status)
        except ValueError:
            state = None
        if not isinstance(state, dict):  # not there yet
            state = {}
        if state.get("finished"):
            return ""
        say(printable(f"{phone.serial}: {state.get('progress', 'starting')}"))
        gone = 0 if phone.shell(f"pidof {PACKAGE}") else gone + 1
        if gone >= 3:
            return (
                f"android: the app ended at {state.get('progress', 'its start')}; "
                f"adb -s {phone.serial} logcat -b crash tells why"
            )
        if time.monotonic() - heard > limit:
            return (
                f"android: {phone.serial} said nothing for {limit:.0f} s; "
                "keep its screen on and the app in front, or give more with --timeout"
            )
        time.sleep(_POLL_SECONDS)


def _read_result(
    folder: Path, serial: str, matrix: Sequence[Cell], subjects: dict[Path, Subject]
) -> tuple[dict[str, Any], list[Row]]:
    path = folder / "result.json"
    try:
        result = read_answer(path)
        if result.get("schema") != RESULT_SCHEMA:
            raise HardwareError(
                f"android: the app on {serial} writes {result.get('schema')}, this version reads "
                f"{RESULT_SCHEMA}; install the matching app"
            )
        rows = [
            _row(_empty(cell, subjects, serial), entry, subjects[cell.model], folder)
            # An app that ended early wrote fewer.
            for entry, cell in zip(result["rows"], matrix, strict=False)
        ]
        return dict(result["environment"]), rows
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise HardwareError(
            f"android: the result of {serial} cannot be read ({error}); install the matching app"
        ) from error


def _empty(cell: Cell, subjects: dict[Path, Subject], serial: str) -> Row:
    return Row(subjects[cell.model].described, cell.delegate, cell.threads, device=serial)


def _row(row: Row, entry: dict[str, Any], subject: Subject, folder: Path) -> Row:
    if entry["failure"]:
        return replace(row, failure=entry["failure"], failure_kind="hardware")
    placement = _placement(row, entry["placement"])
    latency = Latency(
        entry["load_ms"], entry["first_inference_ms"], entry["warm_up_runs"], entry["runs_ms"]
    )
    drawn: list[FloatImage] = []
    if entry.get("outputs"):
        values = np.fromfile(folder / entry["outputs"], "<f4")
        drawn = list(values.reshape(entry["output_shape"]))
    try:
        fidelity, pictures, faults = fidelity_of(
            "full_model", zip(subject.expectations, drawn, strict=True)
        )
    except InputError as error:
        return replace(row, failure=str(error), failure_kind="input")
    return replace(
        row,
        placement=placement,
        latency=latency,
        peak_rss_bytes=entry.get("peak_rss_bytes"),
        temperature_c=entry.get("temperature_c"),
        fidelity=fidelity,
        pictures=pictures,
        operators_note="operators are not timed on phones",
        notes=[*subject.notes, *placement.notes, *latency.notes, *entry.get("notes", []), *faults],
    )


def _placement(row: Row, entry: dict[str, Any]) -> Placement:
    """Returns where the phone says that a row ran.

    Raises:
        ValueError: If that contradicts itself or what was asked for.
    """
    known = {field.name for field in fields(Placement)}
    placement = Placement(**{k: v for k, v in entry.items() if k in known})
    placed, total = placement.delegated_ops, placement.total_ops
    if placed is not None and not 0 <= placed <= total:
        raise ValueError(f"{row.name}: {placed} of {total} operators")
    if row.delegate not in ("auto", placement.delegate):
        raise ValueError(f"{row.name}: ran on {placement.delegate}")
    return placement
