"""Reads FlatBuffers, the binary format of .tflite files, with every offset checked.

The format: https://flatbuffers.dev/internals
"""

from __future__ import annotations

import struct
from collections.abc import Iterator


class DamagedFileError(Exception):
    """The structure of the file is invalid."""


class Table:
    """A FlatBuffers table. Every access is checked against the size of the file.

    Attributes:
        position: Offset of the table in the file.

    Raises:
        DamagedFileError: If the table, or what is read from it, is not within the file. Every
            method raises it.
    """

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self.position = position
        vtable = position - read_number("<i", content, position)
        size, self._size = (
            read_number("<H", content, vtable),
            read_number("<H", content, vtable + 2),
        )
        if size < 4 or size % 2 or vtable + size > len(content):
            raise DamagedFileError("a table's field list is out of bounds")
        if self._size < 4 or position + self._size > len(content):
            raise DamagedFileError("a table is out of bounds")
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", content, vtable + 4)

    def number(self, field: int, layout: str, default: int = 0) -> int:
        """Returns the number in a field."""
        offset = self._field_offset(field, struct.calcsize(layout))
        return default if offset is None else read_number(layout, self._content, offset)

    def table(self, field: int) -> Table | None:
        """Returns the table that a field refers to; None if it is not given."""
        offset = self._field_offset(field, 4)
        return None if offset is None else Table(self._content, self._follow(offset))

    def tables(self, field: int) -> Iterator[Table]:
        """Yields the tables of a vector."""
        start, length = self.vector(field, 4)
        for i in range(length):
            yield Table(self._content, self._follow(start + 4 * i))

    def numbers(self, field: int, layout: str) -> tuple[int, ...]:
        """Returns the numbers of a vector."""
        start, length = self.vector(field, struct.calcsize(f"<{layout}"))
        return struct.unpack_from(f"<{length}{layout}", self._content, start)

    def raw(self, field: int) -> bytes:
        """Returns the bytes of a vector."""
        start, length = self.vector(field, 1)
        return self._content[start : start + length]

    def text(self, field: int) -> str:
        """Returns a text."""
        return self.raw(field).decode()

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Returns where a vector's elements of `width` bytes start, and how many there are."""
        offset = self._field_offset(field, 4)
        if offset is None:
            return 0, 0
        start = self._follow(offset)
        length = read_number("<I", self._content, start)
        if start + 4 + length * width > len(self._content):
            raise DamagedFileError("a list runs past the end of the file")
        return start + 4, length

    def _follow(self, offset: int) -> int:
        return offset + read_number("<I", self._content, offset)

    def _field_offset(self, field: int, width: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        if offset == 0:
            return None
        if offset + width > self._size:
            raise DamagedFileError("a field is outside its table")
        return self.position + offset


def read_number(layout: str, content: bytes, offset: int) -> int:
    """Returns the number at an offset.

    Raises:
        DamagedFileError: If the offset is negative.
        struct.error: If the offset is past the end.
    """
    if offset < 0:  # Python would index from the end.
        raise DamagedFileError("an offset points before the start of the file")
    (value,) = struct.unpack_from(layout, content, offset)
    return int(value)
