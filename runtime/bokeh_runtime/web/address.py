"""Where the pages are served, and how a phone gets there: the address, a QR code, adb reverse."""

from __future__ import annotations

import io
import ipaddress
import shutil
import subprocess
from dataclasses import dataclass

from bokeh_runtime.errors import Argument, HardwareError, InputError

LOCALHOST = "127.0.0.1"
_ADB_SECONDS = 30


@dataclass(frozen=True)
class ServeOptions:
    """Where to serve.

    Attributes:
        serve_on: IP address of this machine, with ":PORT" if the port matters. None serves this
            machine alone.
        adb_reverse: Whether to make the port a phone's own, over a USB cable.
    """

    serve_on: str | None = None
    adb_reverse: bool = False

    def bind(self) -> tuple[str, int]:
        """Returns the address and the port to listen on; port 0 is any free one.

        Raises:
            InputError: If it is no address of one machine, or `adb_reverse` contradicts it.
        """
        if self.serve_on is None:
            return LOCALHOST, 0
        if self.adb_reverse:
            raise InputError(
                Argument("serve_on"), " and ", Argument("adb_reverse"), " exclude each other; "
                "adb reverse makes the phone's localhost this machine's",
            )  # fmt: skip
        host, port = _split(self.serve_on)
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            address = None
        if address is None or address.is_unspecified or not 0 <= port < 65536:
            raise InputError(
                Argument("serve_on", self.serve_on),
                ": give an IP address of this machine in the phone's network, such as 192.168.1.20 "
                "or 192.168.1.20:8443 (ip addr lists them)",
            )
        return str(address), port

    @property
    def needs_tls(self) -> bool:
        """Whether browsers take the address for secure only with https."""
        return not ipaddress.ip_address(self.bind()[0]).is_loopback


def _split(text: str) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    return host, int(port) if port.isascii() and port.isdigit() else (-1 if port else 0)


def qr_code(url: str) -> str:
    """Returns a QR code of an address for a terminal, as lines of block characters.

    Returns "" if the package `segno` is not installed; the address itself is enough then.
    """
    try:
        import segno
    except ImportError:
        return ""
    text = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(text, compact=True)
    return text.getvalue()


def adb_reverse(port: int) -> None:
    """Makes a port of this machine the same port of the phone's localhost, over USB.

    Raises:
        HardwareError: If adb is not installed, or there is not one phone that allows it.
    """
    adb = shutil.which("adb")
    if adb is None:
        raise HardwareError("--adb-reverse: adb is not installed; apt install adb")
    forwarded = f"tcp:{port}"
    try:
        done = subprocess.run(
            [adb, "reverse", forwarded, forwarded],
            capture_output=True,
            text=True,
            timeout=_ADB_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HardwareError(
            "--adb-reverse: adb does not answer; check the cable, or adb kill-server"
        ) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise HardwareError(
            f"--adb-reverse: adb reverse failed ({lines[-1]}); connect one phone with USB "
            "debugging on (adb devices lists it), or set ANDROID_SERIAL"
        )
