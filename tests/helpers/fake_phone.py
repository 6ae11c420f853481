"""A phone for the real `adb` program: speaks adb's protocol over TCP, and does what the app would.

Protocol: Android's `protocol.txt` and `SYNC.TXT`, without optional features.
"""

from __future__ import annotations

import json
import shlex
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bokeh_bench.devices.android.measure import (
    ACTIVITY,
    PACKAGE,
    REQUEST_SCHEMA,
    RESULT_SCHEMA,
    STATUS_SCHEMA,
)
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.errors import HardwareError
from bokeh_runtime.imaging.photo import to_unit
from bokeh_runtime.tflite.file import read_tflite
from helpers.schemas import check_format

VERSION, MOST_BYTES = 0x01000000, 4096


class FakePhone:
    """Listens on a port of its own until closed.

    Args:
        root: Folder that stands for the phone's file system.
        activity: What `am start` runs in a thread: request folder and result folder.
        installed: Whether the app is on it.
    """

    def __init__(
        self,
        root: Path,
        activity: Callable[[Path, Path], None] | None = None,
        *,
        installed: bool = True,
    ) -> None:
        self.root, self.installed = root, installed
        self.activity = activity or benchmark_activity
        self.commands: list[str] = []
        self.running: threading.Thread | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def local(self, remote: str) -> Path:
        return self.root / remote.lstrip("/")

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=_Transport(self, connection).serve, daemon=True).start()

    def shell(self, command: str) -> bytes:
        self.commands.append(command)
        words = shlex.split(command)
        if words[:2] == ["pm", "path"]:
            return b"package:/data/app/base.apk\n" if self.installed else b""
        if words[0] == "pidof":
            return b"1234\n" if self.running and self.running.is_alive() else b""
        if words[:2] == ["am", "start"]:
            if words[3] != ACTIVITY:
                return b"Error: Activity class does not exist.\n"
            extras = dict(zip(words[5::3], words[6::3], strict=True))
            result = self.local(f"/sdcard/Android/data/{PACKAGE}/files/bench/{extras['result']}")
            request = self.local(extras["request"])
            self.running = threading.Thread(target=self.activity, args=(request, result))
            self.running.start()
            return b"Starting: Intent\n"
        here = command.replace(" /", f" {self.root}/").replace(f"{self.root}/dev/null", "/dev/null")
        return subprocess.run(["sh", "-c", here], capture_output=True, check=False).stdout


def benchmark_activity(request_folder: Path, result: Path) -> None:
    """Does what docs/android-benchmark.md asks of the app, with this package's runtime."""
    result.mkdir(parents=True)
    request = json.loads((request_folder / "request.json").read_text())
    assert request["schema"] == REQUEST_SCHEMA
    check_format(request)
    rows = []
    for i, row in enumerate(request["rows"]):
        _write(
            result / "status.json",
            {"schema": STATUS_SCHEMA, "progress": f"{i + 1}: {row['model']}", "finished": False},
        )
        try:
            rows.append(_measured(request_folder, request, row, result, i))
        except HardwareError as error:
            rows.append({**row, "failure": str(error)})
        _write(result / "result.json", _result(rows))
    _write(result / "status.json", {"schema": STATUS_SCHEMA, "progress": "", "finished": True})


def _result(rows: list[dict]) -> dict:
    environment = {"model": "Fake 1", "system": "Android 15 (API 35)", "tools": {"app": "0"}}
    return {"schema": RESULT_SCHEMA, "environment": environment, "rows": rows}


def _measured(folder: Path, request: dict, row: dict, result: Path, i: int) -> dict:
    start = time.perf_counter()
    file = read_tflite(folder / row["model"])
    engine = open_engine(file, EngineOptions(row["delegate"], row["threads"]))
    load_ms = (time.perf_counter() - start) * 1000
    shape = file.tensors[file.inputs[0]].shape[1:]
    times = []
    for _ in range(request["min_runs"] + 1):
        start = time.perf_counter()
        engine.run(np.zeros(shape, np.float32))
        times.append((time.perf_counter() - start) * 1000)
    place = engine.placement
    measured = {
        **row,
        "failure": "",
        "placement": {
            "requested": place.requested, "delegate": place.delegate, "device": "Fake GPU",
            "delegated_ops": place.delegated_ops, "total_ops": place.total_ops,
            "unsupported_ops": list(place.unsupported_ops),
            "precision": place.precision, "notes": list(place.notes),
        },
        "load_ms": load_ms, "first_inference_ms": times[0], "warm_up_runs": 1,
        "runs_ms": times[1:], "peak_rss_bytes": None, "temperature_c": [30.0, 31.0],
        "outputs": None, "output_shape": None, "notes": [],
    }  # fmt: skip
    inputs = request["inputs"].get(row["model"])
    if inputs:
        pixels = np.fromfile(folder / inputs["file"], np.uint8).reshape(inputs["shape"])
        drawn = np.stack([engine.run(to_unit(one)) for one in pixels])
        drawn.astype("<f4").tofile(result / f"{i}.f32")
        measured |= {"outputs": f"{i}.f32", "output_shape": list(drawn.shape)}
    return measured


def _write(path: Path, data: dict) -> None:
    whole = path.with_suffix(".part")
    check_format(data)
    whole.write_text(json.dumps(data))
    whole.rename(path)


class _Transport:
    """One connection of the adb server."""

    def __init__(self, phone: FakePhone, connection: socket.socket) -> None:
        self._phone, self._connection = phone, connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with self._connection:
            while True:
                header = self._exactly(24)
                if header is None:
                    return
                command, first, second, size, _, _ = struct.unpack("<4s5I", header)
                self._on(command, first, second, self._exactly(size) or b"")

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        number = struct.unpack("<I", command)[0]
        header = struct.pack(
            "<4s5I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF
        )
        with self._sending:
            self._connection.sendall(header + data)

    def _on(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            self.send(b"CNXN", VERSION, MOST_BYTES, b"device::ro.product.name=fake;\0")
        elif command == b"OPEN":
            stream = _Stream(self, self._phone, len(self._streams) + 1, first)
            self._streams[stream.ours] = stream
            self.send(b"OKAY", stream.ours, first)
            threading.Thread(target=stream.serve, args=(data,), daemon=True).start()
        elif command == b"WRTE":
            self._streams[second].received(data)
            self.send(b"OKAY", second, first)
        elif command == b"OKAY":
            self._streams[second].ready.release()
        elif command == b"CLSE" and second in self._streams:
            self._streams[second].received(b"")

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            try:
                more = self._connection.recv(size - len(data))
            except OSError:
                return None
            if not more:
                return None
            data += more
        return data


class _Stream:
    """One service: `shell:` or `sync:`."""

    def __init__(self, transport: _Transport, phone: FakePhone, ours: int, theirs: int) -> None:
        self.ours, self.ready = ours, threading.Semaphore(0)
        self._transport, self._phone, self._theirs = transport, phone, theirs
        self._there = threading.Condition()
        self._data, self._ended = b"", False

    def received(self, data: bytes) -> None:
        with self._there:
            self._data += data
            self._ended = not data
            self._there.notify()

    def serve(self, name: bytes) -> None:
        service = name.rstrip(b"\0").decode()
        if service.startswith("shell:"):
            self._write(self._phone.shell(service.partition(":")[2]))
        elif service == "sync:":
            self._sync()
        self._transport.send(b"CLSE", self.ours, self._theirs)

    def _sync(self) -> None:
        while True:
            head = self._read(8)
            if len(head) < 8:
                return
            what, size = head[:4], struct.unpack("<I", head[4:])[0]
            if what == b"QUIT":
                return
            path = self._read(size).decode()
            if what == b"SEND":
                self._receive_file(self._phone.local(path.rpartition(",")[0]))
            elif what == b"STAT":
                self._write(b"STAT" + _stat(self._phone.local(path)))
            elif what == b"RECV":
                content = self._phone.local(path).read_bytes()
                for start in range(0, len(content), MOST_BYTES - 8):
                    part = content[start : start + MOST_BYTES - 8]
                    self._write(b"DATA" + struct.pack("<I", len(part)) + part)
                self._write(b"DONE" + bytes(4))
            elif what == b"LIST":
                for entry in self._phone.local(path).iterdir():
                    encoded = entry.name.encode()
                    self._write(b"DENT" + _stat(entry) + struct.pack("<I", len(encoded)) + encoded)
                self._write(b"DONE" + bytes(16))

    def _receive_file(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while True:
                head = self._read(8)
                size = struct.unpack("<I", head[4:])[0]
                if head[:4] == b"DONE":
                    break
                file.write(self._read(size))
        self._write(b"OKAY" + bytes(4))

    def _read(self, size: int) -> bytes:
        with self._there:
            self._there.wait_for(lambda: len(self._data) >= size or self._ended)
            data, self._data = self._data[:size], self._data[size:]
            return data

    def _write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST_BYTES):
            part = data[start : start + MOST_BYTES]
            self._transport.send(b"WRTE", self.ours, self._theirs, part)
            self.ready.acquire()


def _stat(path: Path) -> bytes:
    try:
        found = path.stat()
    except OSError:
        return bytes(12)
    return struct.pack("<3I", found.st_mode, found.st_size, int(found.st_mtime))
