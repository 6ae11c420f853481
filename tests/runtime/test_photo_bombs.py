"""Decompression bombs: small photo files that unpack to a gigabyte."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

READ = """
import resource, sys
from pathlib import Path
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import read_photo

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(*read_photo(Path(sys.argv[1])).pixels.shape)
except InputError as error:
    print("refused")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
GIGABYTE = 1 << 30
MOST_MEGABYTES = 256


@pytest.fixture(scope="module")
def gigabyte() -> bytes:
    packer = zlib.compressobj(9)
    part = bytes(1 << 20)
    return b"".join(packer.compress(part) for _ in range(GIGABYTE >> 20)) + packer.flush()


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + checksum


def _png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = (b"\x89PNG\r\n\x1a\n", header, *more, _chunk(b"IDAT", pixels), _chunk(b"IEND", b""))
    return b"".join(parts)


def _tiff(width: int, height: int, strip: bytes) -> bytes:
    """Grey, deflated, in one strip that begins at byte 8."""
    tags = (
        (256, width), (257, height), (258, 8), (259, 8), (262, 1), (273, 8), (277, 1),
        (278, height), (279, len(strip)),
    )  # fmt: skip
    strip += bytes(len(strip) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(strip))
    return head + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


SMALL = zlib.compress(bytes(65 * 64), 9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "must_be_refused"),
    [
        (lambda much: _png(32000, 32000, much), True),
        (lambda much: _tiff(32000, 32000, much), True),
        (lambda much: _png(64, 64, much), False),
        (lambda much: _tiff(64, 64, much), False),
        (lambda much: _png(64, 64, SMALL, _chunk(b"zTXt", b"a\0\0" + much)), False),
        (lambda much: _png(64, 64, SMALL, _chunk(b"iTXt", b"a\0\1\0\0\0" + much)), False),
        (lambda much: _png(64, 64, SMALL, _chunk(b"iCCP", b"a\0\0" + much)), False),
    ],
    ids=["png", "tiff", "png pixels", "tiff strip", "text", "unicode text", "profile"],
)
def test_a_decompression_bomb_is_refused(
    make, must_be_refused: bool, gigabyte: bytes, tmp_path: Path
) -> None:
    (tmp_path / "bomb").write_bytes(make(gigabyte))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, tmp_path / "bomb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome, megabytes = done.stdout.splitlines()
    assert outcome == "refused" or (outcome == "64 64 3" and not must_be_refused)
    assert int(megabytes) < MOST_MEGABYTES
