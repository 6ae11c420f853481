"""Finds calls to what the oldest supported Android does not have.

Holds each method and field that the app's classes name against the class library of that Android
(its `android.*` and `org.json`; of Java's own library the compiler offers no more than Java 8's).
Calls of newer ones live in classes named `...Api30`, `...Api31`, which the app enters behind a
check of the system's version.

What that Android had but hid (`Window.getInsetsController`, public from 11 on) passes: its jar does
not tell the two apart.
"""

from __future__ import annotations

import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

_GUARDED = re.compile(r"Api(3\d)$")
_OF_THE_SYSTEM = ("android/", "org/json/")
_OF_OBJECT = ("<init>", "equals", "getClass", "hashCode", "notify", "notifyAll", "toString", "wait")


@dataclass(frozen=True)
class Member:
    """A method or field: class, name and descriptor as in class files."""

    owner: str
    name: str
    descriptor: str

    def __str__(self) -> str:
        return f"{self.owner.replace('/', '.')}.{self.name}{self.descriptor}"


@dataclass(frozen=True)
class ClassFile:
    """What a class file says: its name, ancestors, own members, and those it names of others."""

    name: str
    ancestors: tuple[str, ...]
    own: frozenset[tuple[str, str]]
    named: tuple[Member, ...]


class Library:
    """The class library of an Android version, as a jar."""

    def __init__(self, jar: Path) -> None:
        self._jar = zipfile.ZipFile(jar)
        self._known = set(self._jar.namelist())
        self._read: dict[str, ClassFile | None] = {}

    def has(self, member: Member) -> bool:
        """Says whether the class, or an ancestor, has the member."""
        if member.owner.startswith("["):
            return True  # arrays have what Object has
        ahead = [member.owner]
        while ahead:
            name = ahead.pop()
            found = self._class(name)
            if found is None:
                # What a class has of Java's library, the compiler has seen to; but Object is an
                # ancestor of all, so only its own members count.
                own = name == "java/lang/Object" and member.name not in _OF_OBJECT
                if name.startswith("java/") and not own:
                    return True
                continue
            if (member.name, member.descriptor) in found.own:
                return True
            ahead += found.ancestors
        return False

    def _class(self, name: str) -> ClassFile | None:
        if name not in self._read:
            entry = f"{name}.class"
            known = entry in self._known
            self._read[name] = parse_class(self._jar.read(entry)) if known else None
        return self._read[name]


def too_new(classes: Path, library: Library) -> list[str]:
    """Returns what the classes of a folder call and the library has not, in a line each."""
    found = []
    for path in sorted(classes.rglob("*.class")):
        parsed = parse_class(path.read_bytes())
        if _GUARDED.search(parsed.name.partition("$")[0]):
            continue
        for member in parsed.named:
            system = member.owner.startswith(_OF_THE_SYSTEM)
            if system and not library.has(member):
                found.append(f"{parsed.name.replace('/', '.')} calls {member}")
    return found


def parse_class(content: bytes) -> ClassFile:
    """Reads a class file (Java Virtual Machine Specification, chapter 4)."""
    (count,) = struct.unpack_from(">H", content, 8)
    entries: list[tuple[int, tuple[int, ...] | str] | None] = [None] * count
    at, i = 10, 1
    while i < count:
        tag = content[at]
        if tag == 1:
            (size,) = struct.unpack_from(">H", content, at + 1)
            text = content[at + 3 : at + 3 + size].decode("utf-8", "surrogateescape")
            entries[i] = (tag, text)
            at += 3 + size
        else:
            layout = {15: ">BH", 7: ">H", 8: ">H", 16: ">H", 19: ">H", 20: ">H"}.get(tag, ">HH")
            if tag in (3, 4):
                layout = ">I"
            elif tag in (5, 6):
                layout = ">Q"
            entries[i] = (tag, struct.unpack_from(layout, content, at + 1))
            at += 1 + struct.calcsize(layout)
        i += 2 if tag in (5, 6) else 1  # long and double take two places

    def numbers(index: int) -> tuple[int, ...]:
        entry = entries[index]
        assert entry is not None
        assert not isinstance(entry[1], str)
        return entry[1]

    def text_at(index: int) -> str:
        entry = entries[index]
        assert entry is not None
        assert isinstance(entry[1], str)
        return entry[1]

    def class_name(index: int) -> str:
        return text_at(numbers(index)[0])

    named = []
    for entry in entries:
        if entry is not None and entry[0] in (9, 10, 11):
            assert not isinstance(entry[1], str)
            owner, pair = entry[1]
            name, descriptor = numbers(pair)
            named.append(Member(class_name(owner), text_at(name), text_at(descriptor)))
    _, this, parent, interfaces = struct.unpack_from(">HHHH", content, at)
    at += 8
    ancestors = [] if parent == 0 else [class_name(parent)]
    for _ in range(interfaces):
        (index,) = struct.unpack_from(">H", content, at)
        ancestors.append(class_name(index))
        at += 2
    own = []
    for _ in range(2):  # fields, then methods
        (members,) = struct.unpack_from(">H", content, at)
        at += 2
        for _ in range(members):
            _, name, descriptor, attributes = struct.unpack_from(">HHHH", content, at)
            own.append((text_at(name), text_at(descriptor)))
            at += 8
            for _ in range(attributes):
                (size,) = struct.unpack_from(">I", content, at + 2)
                at += 6 + size
    return ClassFile(class_name(this), tuple(ancestors), frozenset(own), tuple(named))
