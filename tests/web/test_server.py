"""The server of the pages: what it serves, and what it takes."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bokeh_runtime.errors import HardwareError, InputError
from bokeh_runtime.web.address import ServeOptions, adb_reverse, qr_code
from bokeh_runtime.web.announcement import announce
from bokeh_runtime.web.server import ApiError, PageServer, Site


class Echo:
    def limit(self, name: str, query: Mapping[str, str]) -> int:
        if name != "echo" or "forbidden" in query:
            raise ApiError(HTTPStatus.NOT_FOUND, "no such call")
        return 10

    def call(self, name: str, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        return {"call": name, "query": dict(query), "size": len(body)}


@contextmanager
def connection(server: PageServer) -> Iterator[http.client.HTTPConnection]:
    found = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    yield found
    found.close()


def ask(
    server: PageServer, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes, Mapping[str, str]]:
    with connection(server) as open_connection:
        open_connection.request(method, path, body, headers)
        answer = open_connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    script = tmp_path / "code.js"
    script.write_text("let a;" * 100)
    site = Site({"index.html": b"<p>hello", "a/code.js": script}, "index.html", Echo())
    with PageServer(site, ServeOptions()) as running:
        yield running


def test_a_page_is_served_under_its_token_with_the_headers_that_threads_need(
    server: PageServer,
) -> None:
    status, content, headers = ask(server, "GET", f"/{server.token}/")
    assert (status, content) == (200, b"<p>hello")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert urlsplit(server.url).path == f"/{server.token}/"
    status, content, headers = ask(server, "HEAD", f"/{server.token}/a/code.js")
    assert (status, content, headers["Content-Length"]) == (200, b"", "600")
    assert headers["Content-Type"] == "text/javascript"
    _, content, headers = ask(
        server, "GET", f"/{server.token}/a/code.js", **{"Accept-Encoding": "gzip"}
    )
    assert headers["Content-Encoding"] == "gzip"
    assert len(content) < 100


@pytest.mark.parametrize("path", ["/", "/wrong/", "/wrong/a/code.js", "/%00/", "//"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_there_is_nothing(server: PageServer, method: str, path: str) -> None:
    status, content, _ = ask(server, method, path, b"" if method == "POST" else None)
    assert status == 403
    assert b"open the one in the computer's terminal" in content


@pytest.mark.parametrize(
    "path",
    ["../code.js", "a/../../code.js", "%2e%2e/code.js", "..%2fcode.js", "/etc/passwd", "a", "a/",
     "a/code.js/", "a//code.js", "%00", "a\\code.js"],
)  # fmt: skip
def test_no_path_leads_out_of_the_list(server: PageServer, path: str) -> None:
    status, content, _ = ask(server, "GET", f"/{server.token}/{path}")
    assert (status, content) == (404, b"there is no such file\n")


def test_the_api_takes_what_it_allows(server: PageServer) -> None:
    path = f"/{server.token}/api/echo?a=1"
    status, content, _ = ask(server, "POST", path, b"0123456789")
    assert (status, json.loads(content)) == (
        200,
        {"call": "echo", "query": {"a": "1"}, "size": 10},
    )
    status, content, headers = ask(server, "POST", path, b"0123456789+")
    assert (status, json.loads(content)["error"]) == (413, "11 bytes; at most 10 are taken")
    assert headers["Connection"] == "close"
    assert ask(server, "POST", f"/{server.token}/api/other", b"")[0] == 404
    assert ask(server, "POST", f"/{server.token}/echo", b"")[0] == 404


@pytest.mark.parametrize(
    ("length", "status"),
    [("", 411), ("Content-Length: -1\r\n", 411), ("Content-Length: x\r\n", 411),
     ("Content-Length: 99999999999999999999\r\n", 413)],
)  # fmt: skip
def test_a_body_of_unknown_or_huge_size_is_not_read(
    server: PageServer, length: str, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall(f"POST /{server.token}/api/echo HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode())
        assert raw.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_an_upload_that_ends_early_is_refused(server: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        head = f"POST /{server.token}/api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        raw.sendall(f"{head}ab".encode())
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


def test_https_has_a_certificate_for_the_address_and_a_stuck_client_blocks_nobody() -> None:
    pytest.importorskip("cryptography")

    class Everywhere(ServeOptions):
        needs_tls = True  # type: ignore[assignment]

    lines: list[str] = []
    site = Site({"index.html": b"hello"}, "index.html")
    options = Everywhere("127.0.0.1")
    with PageServer(site, options) as running:
        announce(running, options, lines.append, with_code=False)
        with socket.create_connection(("127.0.0.1", running.port)):  # never shakes hands
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            secure = http.client.HTTPSConnection(
                "127.0.0.1", running.port, timeout=20, context=context
            )
            secure.request("GET", f"/{running.token}/")
            assert secure.getresponse().read() == b"hello"
            secure.close()
    assert running.url.startswith("https://")
    assert any("will warn" in line and running.fingerprint in line for line in lines)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "phone.local", "1.2.3.4:x", "1.2.3.4:99999"])
def test_an_address_that_is_none_of_one_machine_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="give an IP address of this machine"):
        ServeOptions(address).bind()


def test_addresses_and_their_ports() -> None:
    assert ServeOptions().bind() == ("127.0.0.1", 0)
    assert ServeOptions("192.168.1.2").bind() == ("192.168.1.2", 0)
    assert ServeOptions("192.168.1.2:8443").bind() == ("192.168.1.2", 8443)
    assert ServeOptions("[fe80::1]:8443").bind() == ("fe80::1", 8443)
    assert ServeOptions("192.168.1.2").needs_tls
    assert not ServeOptions("127.0.0.1:80").needs_tls
    with pytest.raises(InputError, match="exclude each other"):
        ServeOptions("192.168.1.2", adb_reverse=True).bind()


def test_an_address_of_another_machine_cannot_be_served_on() -> None:
    pytest.importorskip("cryptography")
    with pytest.raises(InputError, match="cannot be served on"):
        PageServer(Site({}, "index.html"), ServeOptions("192.0.2.1"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'error: no devices/emulators found' >&2; exit 1", "no devices/emulators found"),
        (None, "adb is not installed"),
    ],
)
def test_adb_that_refuses_or_is_missing_is_an_error(
    script: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if script:
        (tmp_path / "adb").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "adb").chmod(0o755)
    with pytest.raises(HardwareError, match=message):
        adb_reverse(8443)


def test_adb_is_asked_for_the_same_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "adb").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    (tmp_path / "adb").chmod(0o755)
    lines: list[str] = []
    options = ServeOptions(adb_reverse=True)
    with PageServer(Site({"index.html": b""}, "index.html"), options) as running:
        announce(running, options, lines.append, with_code=False)
        port = running.port
    assert (tmp_path / "asked").read_text() == f"reverse tcp:{port} tcp:{port}\n"
    assert lines == [f"open on the phone: {running.url}"]


def test_the_code_in_the_terminal_has_blocks() -> None:
    pytest.importorskip("segno")
    code = qr_code("https://192.168.1.2:8443/token/")
    assert len(code.splitlines()) > 10
    assert "█" in code
