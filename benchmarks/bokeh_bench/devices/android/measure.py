"""Measures on a phone, over adb, with the sample app's benchmark activity.

The contract with the app is docs/android-benchmark.md; `tests/helpers/fake_phone.py` keeps the
app's side of it in tests.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_bench import child_process
from bokeh_bench.devices.android.adb import Adb
from bokeh_bench.devices.android.phone_answer import read_answer
from bokeh_bench.devices.android.phone_rows import row_or_failure
from bokeh_bench.measure.cases import (
    WARM_UP_SECONDS,
    BenchmarkCase,
    ModelUnderTest,
    read_model_under_test,
)
from bokeh_bench.measure.references import FullModelReferences
from bokeh_bench.measure.rows import Report, Row
from bokeh_runtime.errors import HardwareError, InputError, printable
from bokeh_runtime.tflite.value_range import UNIT_RANGES

PACKAGE = "io.github.bokehtflite"
ACTIVITY = f"{PACKAGE}/.BenchmarkActivity"
APK = "build/android/bokeh-demo.apk"
REQUEST_SCHEMA = "bokeh-tflite/android-request/2"
STATUS_SCHEMA = "bokeh-tflite/android-status/2"
RESULT_SCHEMA = "bokeh-tflite/android-result/2"
RESULT = "result.json"
PUSHED = "/data/local/tmp/bokeh-bench"
INTERRUPTED = "interrupted"
WRITTEN = f"/sdcard/Android/data/{PACKAGE}/files/bench"
_ENDED, _AT_ITS_START = "android: the app ended at", "its start"
_POLL_SECONDS = 1.0
_REMEDY = "install the matching app"


def measure_android(
    report: Report,
    cases: Sequence[BenchmarkCase],
    runs: int,
    seconds: float,
    full_model: FullModelReferences,
    serial: str | None,
    progress: Callable[[str], None],
    timeout_seconds: float = child_process.TIMEOUT_SECONDS,
) -> Iterator[Report]:
    """Has the app measure the cases, and yields the report with the phone's rows.

    If the app crashes (as a GPU driver may cause), the case fails with the reason, and the app is
    started again with the cases after it. If the phone stops answering, the rows that the app has
    written are kept, and the other cases fail. A phone that is gone is waited for. What the app has
    written is deleted from the phone once it is here.

    Args:
        report: The rows are added to it.
        cases: What to measure.
        runs: Minimum number of timed runs.
        seconds: Minimum total time of the timed runs.
        full_model: Source of the full model's reference outputs.
        serial: Serial number of the phone; None uses the only one attached.
        progress: Called with a description of each step.
        timeout_seconds: Time limit for each call of adb, and (plus measuring time) for each row.

    Raises:
        HardwareError: If there is no phone, no app on it, or its result cannot be read.
        InputError: If a model cannot be read, or several phones are attached and none was named.
    """
    models = {
        path: _on_a_phone(read_model_under_test(path, full_model))
        for path in {case.model for case in cases}
    }
    phone = Adb(serial, timeout_seconds)
    if not phone.shell(f"pm path {PACKAGE}").startswith("package:"):
        raise HardwareError(
            f"android: {PACKAGE} is not on {phone.serial}; make android, then adb install -r {APK}"
        )
    limit = timeout_seconds + WARM_UP_SECONDS + seconds
    environment, rows, missing = report.environment, list[Row](), ""
    while len(rows) < len(cases):
        left = cases[len(rows) :]
        answer = _run_app(phone, _Request(left, models, runs, seconds), limit, progress)
        environment, missing = answer.environment or environment, answer.missing
        unmeasured = left[len(answer.rows) :]
        why = missing or f"android: the app wrote no result of this row; {_REMEDY}"
        failed = [
            replace(_empty(case, models, phone.serial), failure=why, failure_kind="hardware")
            for case in (unmeasured[:1] if answer.crashed else unmeasured)
        ]
        rows += [*answer.rows, *failed]
    yield replace(report, environment=environment, rows=rows)
    if missing == INTERRUPTED:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class _Request:
    """What the app is asked to measure: `request.json` of docs/android-benchmark.md.

    Attributes:
        cases: The rows.
        models: Their models, and maybe others.
        runs, seconds: See `measure_android`.
    """

    cases: Sequence[BenchmarkCase]
    models: Mapping[Path, ModelUnderTest]
    runs: int
    seconds: float

    def write(self, folder: Path) -> None:
        """Writes it with the models and photos that it needs."""
        inputs = {}
        for path in {case.model for case in self.cases}:
            shutil.copyfile(path, folder / path.name)
            if samples := self.models[path].reference_samples:
                pixels = np.stack([sample.network_input for sample in samples])
                (folder / f"{path.name}.u8").write_bytes(pixels.tobytes())
                inputs[path.name] = {"file": f"{path.name}.u8", "shape": list(pixels.shape)}
        request = {
            "schema": REQUEST_SCHEMA,
            "min_runs": self.runs,
            "min_seconds": self.seconds,
            "max_warm_up_seconds": WARM_UP_SECONDS,
            "rows": [
                {"model": case.model.name, "delegate": case.delegate, "threads": case.threads}
                for case in self.cases
            ],
            "inputs": inputs,
        }
        (folder / "request.json").write_text(json.dumps(request, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class _Answer:
    """What came of one start of the app.

    Attributes:
        environment: What the app says of the phone; empty if it has written no result.
        rows: The rows that it has measured, maybe fewer than asked for.
        missing: Why there are no more; "" if there are all.
    """

    environment: Mapping[str, Any]
    rows: Sequence[Row]
    missing: str

    @property
    def crashed(self) -> bool:
        """Whether the app ended in a row, so that it may measure the next ones."""
        return self.missing.startswith(_ENDED) and _AT_ITS_START not in self.missing


def _run_app(
    phone: Adb, request: _Request, limit: float, progress: Callable[[str], None]
) -> _Answer:
    """Starts the app, waits for it, and deletes from the phone what is here."""
    run = f"run-{secrets.token_hex(4)}"
    pushed, written = f"{PUSHED}/{run}", f"{WRITTEN}/{run}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pushed").mkdir()
        request.write(folder / "pushed")
        answer, done_with = _Answer({}, (), ""), [pushed]
        try:
            progress(f"copying models to {phone.serial}")
            missing = _start(phone, folder / "pushed", pushed, run)
            if not missing:
                missing, found = _finish(phone, written, folder, limit, progress)
                if found:
                    done_with.append(written)
                # An app that ended in its first row has written no result.
                if found and (not missing or (folder / run / RESULT).exists()):
                    answer = _read_result(folder / run, phone.serial, request)
        finally:
            phone.remove(*done_with)
    return replace(answer, missing=missing)


def _on_a_phone(model: ModelUnderTest) -> ModelUnderTest:
    """Leaves out the fidelity of a file whose value ranges the app does not know."""
    if model.metadata is not None or model.ranges == UNIT_RANGES:
        return model
    note = (
        f"no fidelity: the app runs a file without metadata in 0..1, this one takes "
        f"{model.ranges.input} and gives {model.ranges.output}; convert it with bokeh-convert"
    )
    return replace(model, reference_samples=(), notes=[*model.notes, note], ranges=UNIT_RANGES)


def _start(phone: Adb, local: Path, pushed: str, run: str) -> str:
    """Starts the app. Returns the reason if it does not start, otherwise ""."""
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
    phone: Adb, written: str, folder: Path, limit: float, progress: Callable[[str], None]
) -> tuple[str, bool]:
    """Waits for the app, and copies what it has written.

    Returns:
        Why it did not finish ("" if it did), and whether its files are here.
    """
    try:
        missing = _wait(phone, written, limit, progress)
        lost = _pull(phone, written, folder, limit)
    except KeyboardInterrupt:
        missing, lost = INTERRUPTED, _pull(phone, written, folder, 0.0)
    except HardwareError as error:  # adb does not answer, or the phone is gone
        missing = lost = str(error)
    if lost and missing in ("", lost):
        missing = f"{lost}; what the app has measured stays on the phone, in {written}"
    return missing, not lost


def _pull(phone: Adb, written: str, folder: Path, limit: float) -> str:
    """Copies what the app has written. Returns the reason if that fails, otherwise "".

    A phone that is gone is waited for, for `limit` seconds.
    """
    start = time.monotonic()
    while True:
        try:
            phone.pull(written, folder)
        except HardwareError as error:
            if phone.is_attached() or time.monotonic() - start > limit:
                return str(error)
            time.sleep(_POLL_SECONDS)
        else:
            return ""


def _wait(phone: Adb, written: str, limit: float, progress: Callable[[str], None]) -> str:
    """Waits for the app. Returns the reason if it did not finish, otherwise "".

    Raises:
        HardwareError: If adb does not answer, or the phone is gone for `limit` seconds.
    """
    last, heard, ended = "", time.monotonic(), 0
    away_since: float | None = None
    while True:
        status = phone.shell(f"cat {written}/status.json 2>/dev/null")
        if status and status != last:
            last, heard = status, time.monotonic()
        state = _state(last)
        if state.get("finished"):
            return ""
        progress(printable(f"{phone.serial}: {state.get('progress', 'starting')}"))
        runs = bool(phone.shell(f"pidof {PACKAGE}"))
        # A phone that is gone answers nothing either, which says nothing about the app.
        if runs or phone.is_attached():
            away_since = None
            ended = 0 if runs else ended + 1
        else:
            progress(f"{phone.serial} is gone; waiting for it")
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > limit:
                raise HardwareError(
                    f"android: {phone.serial} is gone for {limit:.0f} s, at "
                    f"{state.get('progress', 'the start')}; check the cable, and measure again"
                )
        if ended >= 3:
            return (
                f"{_ENDED} {state.get('progress', _AT_ITS_START)}; "
                f"adb -s {phone.serial} logcat -b crash shows the reason"
            )
        if away_since is None and time.monotonic() - heard > limit:
            return (
                f"android: no progress on {phone.serial} for {limit:.0f} s; keep its screen on and "
                "the app in the foreground, or give a longer --timeout"
            )
        time.sleep(_POLL_SECONDS)


def _state(status: str) -> dict[str, Any]:
    """Returns the content of `status.json`; without anything if it is not there yet."""
    try:
        state = json.loads(status)
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def _read_result(folder: Path, serial: str, request: _Request) -> _Answer:
    models = request.models
    try:
        result = read_answer(folder / RESULT)
        if result.get("schema") != RESULT_SCHEMA:
            raise HardwareError(
                f"android: the app on {serial} writes {result.get('schema')}, this version reads "
                f"{RESULT_SCHEMA}; {_REMEDY}"
            )
        rows = [
            row_or_failure(
                _empty(case, models, serial), entry, models[case.model], folder, serial, _REMEDY
            )
            # An app that ended early wrote fewer.
            for entry, case in zip(result["rows"], request.cases, strict=False)
        ]
        return _Answer(dict(result["environment"]), rows, "")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise HardwareError(
            f"android: the result of {serial} cannot be read ({error}); {_REMEDY}"
        ) from error


def _empty(case: BenchmarkCase, models: Mapping[Path, ModelUnderTest], serial: str) -> Row:
    return Row(models[case.model].summary, case.delegate, case.threads, device=serial)
