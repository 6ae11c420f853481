"""A phone over adb, the Android debug bridge."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from bokeh_bench import child_process
from bokeh_runtime.errors import HardwareError, InputError

_CLEAN_UP_SECONDS = 30.0


class Adb:
    """One phone, controlled through the program `adb`.

    Args:
        serial: Serial number of the phone; None uses the only one attached.
        seconds: Time limit for each call of adb.

    Raises:
        HardwareError: If adb is not installed or hangs, or the phone is not attached or not ready.
        InputError: If several phones are attached and none was named.
    """

    def __init__(self, serial: str | None, seconds: float = child_process.TIMEOUT_SECONDS) -> None:
        self._seconds = seconds
        program = shutil.which("adb")
        if program is None:
            raise HardwareError("android: adb is not installed; apt install adb")
        self._command = [program]
        self.serial = _choose(self._run("devices").splitlines()[1:], serial)
        self._command += ["-s", self.serial]

    def shell(self, command: str) -> str:
        """Returns the output of a command on the phone. Old phones do not report exit codes."""
        return self._run("shell", command).replace("\r\n", "\n").strip()

    def is_attached(self) -> bool:
        """Says whether the phone is there and ready, which the output of `shell` does not tell."""
        with contextlib.suppress(HardwareError):
            return self._run("get-state").strip() == "device"
        return False

    def push(self, local: Path, remote: str) -> None:
        """Copies the content of a folder to the phone."""
        self._run("push", f"{local}/.", remote)

    def pull(self, remote: str, local: Path) -> None:
        """Copies a folder from the phone into a folder."""
        self._run("pull", remote, str(local))

    def remove(self, *remote: str) -> None:
        """Removes folders from the phone at the end of a run, unless it does not answer."""
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
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise HardwareError(f"android: adb {words[0]} failed ({lines[-1]}); check the cable")
        return done.stdout


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
