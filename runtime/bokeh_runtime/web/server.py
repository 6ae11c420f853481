"""A small server for the pages: a fixed list of files under a secret address, and an API.

Nothing else of the disk can be asked for, since a path is looked up in that list and is never
opened. What is uploaded has a limit that the API gives before the first byte is read.
"""

from __future__ import annotations

import gzip
import hmac
import json
import mimetypes
import secrets
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from bokeh_runtime.errors import InputError
from bokeh_runtime.web.address import ServeOptions
from bokeh_runtime.web.certificate import self_signed

_IDLE_SECONDS = 60
_COMPRESSED = {".wasm", ".js", ".json", ".html", ".css", ".svg", ".webmanifest"}
# wasm is compiled, emscripten's threads start from a blob, and photos are blobs.
POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; "
    "img-src 'self' blob: data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    # Both make the page cross-origin isolated, which wasm threads need.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class ApiError(Exception):
    """An answer that refuses a call of the API.

    Args:
        status: HTTP status.
        message: Why, and what to do.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)


class Api(Protocol):
    """What a page may send."""

    def limit(self, name: str, query: Mapping[str, str]) -> int:
        """Returns the most bytes that a call may have.

        Raises:
            ApiError: If there is no such call.
        """

    def call(self, name: str, query: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """Does a call and returns its answer as JSON data.

        Raises:
            ApiError: If the call is wrong.
        """


@dataclass
class Site:
    """What is served.

    Attributes:
        files: Files and contents by their paths, such as "bench/bench.js".
        index: Path of the page at the address itself.
        api: What takes uploads; None if nothing may be sent.
    """

    files: Mapping[str, Path | bytes]
    index: str
    api: Api | None = None
    _compressed: dict[str, bytes] = field(default_factory=dict)

    def content(self, name: str) -> bytes:
        """Returns a file's content; KeyError if there is none of that name."""
        return self._read(name)

    def compressed(self, name: str) -> bytes:
        """Returns a file's content with gzip, which is computed once."""
        if name not in self._compressed:
            self._compressed[name] = gzip.compress(self._read(name), 6, mtime=0)
        return self._compressed[name]

    def _read(self, name: str) -> bytes:
        found = self.files[name]
        return found if isinstance(found, bytes) else found.read_bytes()


class PageServer:
    """Serves a site in threads, from `with` to its end.

    Attributes:
        url: The address, with a token that nobody can guess.
        fingerprint: SHA-256 of the certificate; "" without https.

    Args:
        site: What to serve.
        options: Where.

    Raises:
        InputError: If the address is not this machine's, or its port is taken.
    """

    def __init__(self, site: Site, options: ServeOptions) -> None:
        host, port = options.bind()
        self.token = secrets.token_urlsafe(12)
        context, self.fingerprint = self_signed(host) if options.needs_tls else (None, "")
        try:
            self._server = _Server((host, port), site, self.token, context)
        except OSError as error:
            raise InputError(
                f"{host}: cannot be served on ({error.strerror}); give an address of this machine "
                "(ip addr lists them) and a free port, or none"
            ) from error
        self.port: int = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        if shown == "127.0.0.1":
            shown = "localhost"
        self.url = f"{'https' if context else 'http'}://{shown}:{self.port}/{self.token}/"

    def __enter__(self) -> PageServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], site: Site, token: str, context: ssl.SSLContext | None
    ) -> None:
        self.site, self.token, self.context = site, token, context
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread, so that a client that never shakes hands blocks nobody.
        request.settimeout(_IDLE_SECONDS)
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of connections that end early: a browser that distrusts the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        name, _ = self._name()
        site = self.server.site
        if name is None:
            return
        name = name or site.index
        if name not in site.files:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such file")
            return
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        kind = {".js": "text/javascript", ".wasm": "application/wasm"}.get(Path(name).suffix, kind)
        packed = Path(name).suffix in _COMPRESSED and "gzip" in self.headers.get(
            "Accept-Encoding", ""
        )
        content = site.compressed(name) if packed else site.content(name)
        self._answer(HTTPStatus.OK, content, kind, {"Content-Encoding": "gzip"} if packed else {})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        name, query = self._name()
        if name is None:
            return
        api = self.server.site.api
        called = name.removeprefix("api/")
        try:
            if api is None or called == name:
                raise ApiError(HTTPStatus.NOT_FOUND, "nothing can be sent there")
            body = self._body(api.limit(called, query))
            answer = api.call(called, query, body)
        except ApiError as error:
            self._refuse(error.status, str(error))
            return
        content = json.dumps(answer).encode()
        self._answer(HTTPStatus.OK, content, "application/json", {})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Logs nothing: the command says what matters."""

    def _name(self) -> tuple[str | None, dict[str, str]]:
        """Returns the path after the token, and the query; None after a refusal."""
        parts = urlsplit(self.path)
        token, _, name = parts.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(
                HTTPStatus.FORBIDDEN,
                "this address is not valid (any more); open the one in the computer's terminal",
            )
            return None, {}
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return unquote(name), query

    def _body(self, limit: int) -> bytes:
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdigit()):
            raise ApiError(HTTPStatus.LENGTH_REQUIRED, "the request has no Content-Length")
        if int(text) > limit:
            raise ApiError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{int(text)} bytes; at most {limit} are taken"
            )
        body = self.rfile.read(int(text))
        if len(body) < int(text):
            raise ApiError(HTTPStatus.BAD_REQUEST, "the request ended early")
        return body

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        if self.command == "POST":
            self.close_connection = True  # the rest of the body is not read
            content = json.dumps({"error": message}).encode()
            self._answer(status, content, "application/json", {"Connection": "close"})
        else:
            self._answer(status, f"{message}\n".encode(), "text/plain; charset=utf-8", {})

    def _answer(
        self, status: HTTPStatus, content: bytes, kind: str, more: Mapping[str, str]
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
