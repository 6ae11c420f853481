"""What a command prints when it serves pages: the address, a QR code, what the browser will say."""

from __future__ import annotations

from collections.abc import Callable

from bokeh_runtime.web.address import ServeOptions, adb_reverse, qr_code
from bokeh_runtime.web.server import PageServer


def announce(
    server: PageServer, options: ServeOptions, say: Callable[[str], None], *, with_code: bool
) -> None:
    """Makes the port a phone's own if that was asked for, and says where the page is.

    Args:
        server: A server that runs.
        options: Where it serves.
        say: Prints lines.
        with_code: Whether to print a QR code too, for terminals.

    Raises:
        HardwareError: If `options.adb_reverse` is given and adb refuses.
    """
    if options.adb_reverse:
        adb_reverse(server.port)
        say(f"open on the phone: {server.url}")
    else:
        say(f"open in a browser: {server.url}")
    # Without a cable, a phone cannot reach this machine's localhost: a code would lead nowhere.
    code = qr_code(server.url) if with_code and options != ServeOptions() else ""
    if code:
        say(code)
    if server.fingerprint:
        say(
            "the browser will warn that the connection is not private, since the certificate was "
            "made just now: choose Advanced, then Proceed; its SHA-256 fingerprint is "
            f"{server.fingerprint}"
        )
    elif options == ServeOptions():
        say(
            "only this machine can open it; for a phone, give --serve-on with this machine's "
            "address in its network, or --adb-reverse with a cable"
        )
