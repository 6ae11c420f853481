"""Photos with a depth map in them, written byte by byte as the published formats say.

They are not from phones: the JPEG and PNG images come from Pillow, and what is around them follows
Google's depth map metadata and dynamic depth 1.0, Adobe's XMP specification part 3, CIPA DC-007 and
ISO/IEC 23008-12.
"""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
from PIL import Image

GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
_RDF = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{}</rdf:RDF></x:xmpmeta>'
)
_GUID = "36BE52D449F3E6B9760D7602FF75168D"
_SEGMENT_BYTES = 60_000


def encoded(pixels: np.ndarray, kind: str, orientation: int = 1) -> bytes:
    """An image file: "PNG" or "JPEG"."""
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, quality=95, exif=exif)
    return file.getvalue()


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with marker segments after its start."""
    inserted = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
        for marker, payload in segments
    )
    return jpeg[:2] + inserted + jpeg[2:]


def xmp_segment(description: str) -> tuple[int, bytes]:
    """An APP1 segment with an XMP packet."""
    return 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _RDF.format(description).encode()


def extended_xmp(description: str, guid: str = _GUID) -> list[tuple[int, bytes]]:
    """The APP1 segments of an extended XMP packet, in parts."""
    packet = _RDF.format(description).encode()
    header = b"http://ns.adobe.com/xmp/extension/\0" + guid.encode()
    return [
        (
            0xE1,
            header + struct.pack(">II", len(packet), at) + packet[at : at + _SEGMENT_BYTES],
        )
        for at in range(0, len(packet), _SEGMENT_BYTES)
    ]


def gdepth(
    photo: bytes,
    depth: bytes,
    *,
    kind: str = "RangeInverse",
    limits: tuple[float, float] = (0.5, 8.0),
    extended: bool = True,
) -> bytes:
    """A JPEG with GDepth metadata, whose data are in the extended XMP or in the packet itself."""
    data = f'GDepth:Data="{base64.b64encode(depth).decode()}"'
    space = f'xmlns:GDepth="{GDEPTH}"'
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{_GUID}"'
    main = xmp_segment(
        f'<rdf:Description {space} GDepth:Format="{kind}" GDepth:Near="{limits[0]}" '
        f'GDepth:Far="{limits[1]}" GDepth:Mime="image/png" {note if extended else data}/>'
    )
    if not extended:
        return with_segments(photo, main)
    return with_segments(photo, main, *extended_xmp(f"<rdf:Description {space} {data}/>"))


def dynamic_depth(photo: bytes, depth: bytes, *, before: bytes = b"", length: int = 0) -> bytes:
    """A JPEG with a dynamic depth container: the photo, another item if given, the depth map.

    Args:
        photo: The JPEG.
        depth: The depth map's file.
        before: Bytes of an item between them, such as a confidence map or a video.
        length: What the container says is the depth map's length; 0 for the true one.
    """
    items = [("image/jpeg", 0, "primary_image")]
    if before:
        items.append(("video/mp4", len(before), "android/video"))
    items.append(("image/png", length or len(depth), "android/depthmap"))
    listed = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="{mime}" '
        f'Item:Length="{size}" Item:DataURI="{uri}"/></rdf:li>'
        for mime, size, uri in items
    )
    spaces = " ".join(
        f'xmlns:{name}="http://ns.google.com/photos/dd/1.0/{name.lower()}/"'
        for name in ("Device", "Container", "Item", "Camera", "DepthMap")
    )
    description = (
        f"<rdf:Description {spaces}><Device:Container><Container:Directory><rdf:Seq>{listed}"
        "</rdf:Seq></Container:Directory></Device:Container><Device:Cameras><rdf:Seq>"
        '<rdf:li rdf:parseType="Resource"><Camera:DepthMap rdf:parseType="Resource">'
        "<DepthMap:Format>RangeInverse</DepthMap:Format><DepthMap:Near>0.3</DepthMap:Near>"
        "<DepthMap:Far>10</DepthMap:Far><DepthMap:Units>Meters</DepthMap:Units>"
        "<DepthMap:DepthURI>android/depthmap</DepthMap:DepthURI>"
        "<DepthMap:ItemSemantic>Depth</DepthMap:ItemSemantic>"
        "</Camera:DepthMap></rdf:li></rdf:Seq></Device:Cameras></rdf:Description>"
    )
    return with_segments(photo, xmp_segment(description)) + before + depth


def multi_picture(photo: bytes, depth: bytes, kind: str = "disparity") -> bytes:
    """A multi-picture JPEG whose second image is marked as Apple marks auxiliary images."""
    aux = with_segments(
        depth,
        xmp_segment(
            '<rdf:Description xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/">'
            f"<apdi:AuxiliaryImageType>{kind}</apdi:AuxiliaryImageType></rdf:Description>"
        ),
    )

    def index(size: int, offset: int) -> bytes:
        entries = struct.pack(">IIIHH", 0x030000, size, 0, 0, 0)
        entries += struct.pack(">IIIHH", 0, len(aux), offset, 0, 0)
        return (
            b"MPF\0MM\0*"
            + struct.pack(">IH", 8, 3)
            + struct.pack(">HHI4s", 0xB000, 7, 4, b"0100")
            + struct.pack(">HHII", 0xB001, 4, 1, 2)
            + struct.pack(">HHII", 0xB002, 7, 32, 50)
            + struct.pack(">I", 0)
            + entries
        )

    size = len(with_segments(photo, (0xE2, index(0, 0))))
    # Offsets count from the byte order mark: after the start, the segment's head and its name.
    return with_segments(photo, (0xE2, index(size, size - 2 - 4 - 4))) + aux


def heic_with_depth(photo: np.ndarray, depth: np.ndarray) -> bytes:
    """A HEIC file whose second image is the auxiliary depth image of the first."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    second = Image.fromarray(depth)
    Image.fromarray(photo).save(file, "HEIF", save_all=True, append_images=[second], quality=95)
    content = file.getvalue()
    meta = content.index(b"meta") - 4
    (meta_size,) = struct.unpack_from(">I", content, meta)
    boxes = _boxes(content, meta + 12, meta + meta_size)
    ids = [item for item, kind in _items(boxes["iinf"]) if kind in (b"hvc1", b"grid")]
    parts = dict(boxes)
    parts["iref"] = _box("iref", bytes(4) + _box("auxl", struct.pack(">HHH", ids[1], 1, ids[0])))
    parts["iprp"] = _with_auxiliary_type(boxes["iprp"], ids[1])
    grown = sum(map(len, parts.values())) - sum(map(len, boxes.values()))
    parts["iloc"] = _shifted(boxes["iloc"], grown)
    body = content[meta + 8 : meta + 12] + b"".join(parts.values())
    return content[:meta] + _box("meta", body) + content[meta + meta_size :]


def _box(kind: str, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + kind.encode() + payload


def _boxes(content: bytes, start: int, end: int) -> dict[str, bytes]:
    found = {}
    while start < end:
        (size,) = struct.unpack_from(">I", content, start)
        found[content[start + 4 : start + 8].decode()] = content[start : start + size]
        start += size
    return found


def _items(iinf: bytes) -> list[tuple[int, bytes]]:
    """Number and type of each item."""
    found, at = [], 14  # after head, version and flags, and a count of 2 bytes
    while at < len(iinf):
        (size,) = struct.unpack_from(">I", iinf, at)
        found.append((struct.unpack_from(">H", iinf, at + 12)[0], iinf[at + 16 : at + 20]))
        at += size
    return found


def _with_auxiliary_type(iprp: bytes, item: int) -> bytes:
    """Adds the property "auxiliary depth image" to an item."""
    inside = _boxes(iprp, 8, len(iprp))
    urn = b"urn:mpeg:hevc:2015:auxid:2\0"
    properties = inside["ipco"] + _box("auxC", bytes(4) + urn)
    count, at = 0, 8
    while at < len(properties):
        at += struct.unpack_from(">I", properties, at)[0]
        count += 1
    ipco = struct.pack(">I", len(properties)) + properties[4:]
    ipma = inside["ipma"]
    assert ipma[8:12] == bytes(4)
    (entries,) = struct.unpack_from(">I", ipma, 12)
    at, out = 16, b""
    for _ in range(entries):
        number, associated = struct.unpack_from(">HB", ipma, at)
        listed = ipma[at + 3 : at + 3 + associated]
        at += 3 + associated
        if number == item:
            listed += bytes([0x80 | count])
        out += struct.pack(">HB", number, len(listed)) + listed
    return _box("iprp", ipco + _box("ipma", ipma[8:16] + out))


def _shifted(iloc: bytes, by: int) -> bytes:
    """Adds to the offset of each item's only extent."""
    version, sizes = iloc[8], iloc[12]
    base_size = iloc[13] >> 4
    assert version in (0, 1)
    assert sizes == 0x44
    (count,) = struct.unpack_from(">H", iloc, 14)
    at, out = 16, bytearray(iloc)
    for _ in range(count):
        method = struct.unpack_from(">H", iloc, at + 2)[0] & 15 if version else 0
        at += (6 if version else 4) + base_size
        (extents,) = struct.unpack_from(">H", iloc, at)
        assert extents == 1
        (offset,) = struct.unpack_from(">I", iloc, at + 2)
        if method == 0:
            struct.pack_into(">I", out, at + 2, offset + by)
        at += 2 + 8 * extents
    return bytes(out)
