"""Reads the metadata segments of JPEG files: XMP, and the further images after the first."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from bokeh_runtime.errors import InputError

_SOI, _EOI, _SOS, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_GUID_BYTES = 32
_MPF = b"MPF\0"
_MP_ENTRIES, _MP_ENTRY_BYTES, _MAX_IMAGES = 0xB002, 16, 64
_IFD_ENTRY_BYTES = 12
_MARKER_IN_SCAN = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A marker segment before the pixels of a JPEG image.

    Attributes:
        marker: The marker's second byte.
        start: Offset of the payload in the file.
        payload: The segment without marker and length.
    """

    marker: int
    start: int
    payload: bytes


def read_segments(content: bytes) -> list[Segment]:
    """Returns the segments up to the first scan; those before the damage if the file is damaged."""
    return [segment for segment in _segments(content, 0) if segment.marker != _SOS]


def read_xmp(segments: list[Segment]) -> bytes | None:
    """Returns the XMP packet; None if there is none."""
    for segment in segments:
        if segment.marker == _APP1 and segment.payload.startswith(_XMP):
            return segment.payload[len(_XMP) :].rstrip(b"\0")
    return None


def read_extended_xmp(segments: list[Segment], guid: str) -> bytes:
    """Joins the parts of the extended XMP (XMP specification part 3, 1.1.3.1).

    Args:
        segments: The segments of the file.
        guid: Value of xmpNote:HasExtendedXMP, the digest that marks its parts.

    Raises:
        InputError: If a part is missing.
    """
    parts: dict[int, bytes] = {}
    size, header = 0, len(_EXTENDED_XMP) + _GUID_BYTES + 8
    for segment in segments:
        payload = segment.payload
        if segment.marker != _APP1 or not payload.startswith(_EXTENDED_XMP):
            continue
        found = payload[len(_EXTENDED_XMP) : header - 8]
        if len(payload) >= header and found == guid.encode("ascii", "replace"):
            size, offset = struct.unpack_from(">II", payload, header - 8)
            parts[offset] = payload[header:]
    joined = b"".join(parts[offset] for offset in sorted(parts))
    offsets = sorted(parts)
    is_complete = all(
        offset + len(parts[offset]) == following
        for offset, following in zip(offsets, [*offsets[1:], size], strict=True)
    )
    if not parts or offsets[0] != 0 or not is_complete:
        raise InputError("its extended XMP is incomplete")
    return joined


def end_of_first_image(content: bytes) -> int | None:
    """Returns the offset after the end marker of the first image; None if that is missing."""
    for segment in _segments(content, 0):
        if segment.marker == _EOI:
            return segment.start
    return None


def read_further_images(content: bytes, segments: list[Segment]) -> list[bytes]:
    """Returns the images after the first, as the multi-picture index lists them (CIPA DC-007).

    Images that are not inside the file are left out.
    """
    for segment in segments:
        if segment.marker == _APP2 and segment.payload.startswith(_MPF):
            base = segment.start + len(_MPF)
            ranges = _multi_picture_ranges(segment.payload[len(_MPF) :])
            return [
                content[base + offset : base + offset + size]
                for offset, size in ranges
                if offset > 0 and size > 0 and base + offset + size <= len(content)
            ]
    return []


def _multi_picture_ranges(index: bytes) -> list[tuple[int, int]]:
    """Returns offset, relative to the index, and size of each image that the index lists."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    if order is None:
        return []
    try:
        (start,) = struct.unpack_from(f"{order}I", index, 4)
        (count,) = struct.unpack_from(f"{order}H", index, start)
        for i in range(count):
            entry = start + 2 + i * _IFD_ENTRY_BYTES
            tag, _, size, offset = struct.unpack_from(f"{order}HHII", index, entry)
            if tag == _MP_ENTRIES:
                images = min(size // _MP_ENTRY_BYTES, _MAX_IMAGES)
                return [
                    struct.unpack_from(f"{order}4xII", index, offset + j * _MP_ENTRY_BYTES)[::-1]
                    for j in range(images)
                ]
    except struct.error:
        return []
    return []


def _segments(content: bytes, start: int) -> Iterator[Segment]:
    """Yields the segments of the image at an offset, including each scan and the end marker."""
    if content[start : start + 2] != bytes((0xFF, _SOI)):
        return
    at = start + 2
    while at + 2 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2
        if marker in _WITHOUT_LENGTH:
            continue
        if marker == _EOI:
            yield Segment(_EOI, at, b"")
            return
        if at + 2 > len(content):
            return
        (length,) = struct.unpack_from(">H", content, at)
        if length < 2 or at + length > len(content):
            return
        yield Segment(marker, at + 2, content[at + 2 : at + length])
        at += length
        if marker == _SOS:
            following = _MARKER_IN_SCAN.search(content, at)
            if following is None:
                return
            at = following.start(1) - 1
