"""Reads properties of XMP packets, which come from untrusted files."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from bokeh_runtime.errors import InputError

Element = ElementTree.Element


def parse_xmp(packet: bytes) -> Element:
    """Parses an XMP packet.

    Raises:
        InputError: If it is not UTF-8 or not well-formed XML, or declares a document type, which
            XMP does not have and whose entities can expand to gigabytes.
    """
    if b"\0" in packet:  # UTF-16 or UTF-32, in which the next check would find nothing
        raise InputError("its XMP is not UTF-8")
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise InputError("its XMP has a document type declaration")
    try:
        return ElementTree.fromstring(packet.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"its XMP is damaged ({error})") from error


def read_property(root: Element, namespace: str, name: str) -> str | None:
    """Returns a simple property, which is written as an attribute or as an element; None if absent.

    If several elements have it, the first is returned.
    """
    key = f"{{{namespace}}}{name}"
    for element in root.iter():
        if (value := element.get(key)) is not None:
            return value.strip()
        if element.tag == key and element.text and element.text.strip():
            return element.text.strip()
    return None


def elements_with(root: Element, namespace: str, name: str) -> Iterator[Element]:
    """Yields the elements that have a simple property, in the order of the packet."""
    key = f"{{{namespace}}}{name}"
    for element in root.iter():
        if element.get(key) is not None or element.find(key) is not None:
            yield element
