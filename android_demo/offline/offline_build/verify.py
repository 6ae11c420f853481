"""What is in an APK, and whether that is what should be."""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from offline_build.errors import OFFLINE, BuildError
from offline_build.package import ABIS, TABLE
from offline_build.run import run

_LOAD = 1  # PT_LOAD


@dataclass(frozen=True)
class Contents:
    """An APK, looked at from outside.

    Attributes:
        package, version: Of the app.
        min_sdk, target_sdk: API levels.
        permissions: That it asks for.
        natives: Bytes of the native libraries of each ABI.
        alignment: Of their LOAD segments in bytes, the smallest for each ABI.
        models: Hash of each model, by name.
        sizes: Compressed bytes of "dex", "models", "resources".
        size_bytes, sha256: Of the file.
        signed_by: The signature schemes that verify.
        mapped: Entries that lie there uncompressed and aligned to 4 bytes.
    """

    package: str
    version: str
    min_sdk: int
    target_sdk: int
    permissions: Sequence[str]
    natives: dict[str, int]
    alignment: dict[str, int]
    models: dict[str, str]
    sizes: dict[str, int]
    size_bytes: int
    sha256: str
    signed_by: Sequence[str]
    mapped: Sequence[str]


def look(apk: Path) -> Contents:
    """Reads an APK.

    Raises:
        BuildError: If it is damaged, or its signature does not verify.
    """
    signed = run("apksigner verify", ["apksigner", "verify", "--verbose", apk])
    schemes = re.findall(r"Verified using (v\d[\d.]*) scheme .*: true", signed)
    badging = run("aapt", ["aapt", "dump", "badging", apk])
    natives: dict[str, int] = {}
    alignment: dict[str, int] = {}
    models: dict[str, str] = {}
    sizes = {"dex": 0, "models": 0, "resources": 0}
    with zipfile.ZipFile(apk) as archive:
        for entry in archive.infolist():
            part = "resources"
            if entry.filename.endswith(".so"):
                abi = entry.filename.split("/")[1]
                natives[abi] = natives.get(abi, 0) + entry.compress_size
                smallest = load_alignment(archive.read(entry))
                alignment[abi] = min(alignment.get(abi, smallest), smallest)
                continue
            if entry.filename.endswith(".dex"):
                part = "dex"
            elif entry.filename.startswith("assets/models/"):
                part = "models"
                if entry.filename.endswith(".tflite"):
                    digest = hashlib.sha256(archive.read(entry)).hexdigest()
                    models[entry.filename.rpartition("/")[2]] = digest
            sizes[part] += entry.compress_size
    return Contents(
        package=_one(r"package: name='([^']+)'", badging),
        version=_one(r"versionName='([^']+)'", badging),
        min_sdk=int(_one(r"sdkVersion:'(\d+)'", badging)),
        target_sdk=int(_one(r"targetSdkVersion:'(\d+)'", badging)),
        permissions=re.findall(r"uses-permission(?:-sdk-\d+)?: name='([^']+)'", badging),
        natives=natives,
        alignment=alignment,
        models=models,
        sizes=sizes,
        size_bytes=apk.stat().st_size,
        sha256=hashlib.sha256(apk.read_bytes()).hexdigest(),
        signed_by=schemes,
        mapped=_mapped(apk),
    )


def check(contents: Contents, assets: Mapping[str, str], permissions: Sequence[str]) -> None:
    """Holds an APK against what it should be.

    Args:
        contents: Of the APK.
        assets: Hashes of the models and of their reference by name, such as "models/int8.tflite".
        permissions: That it may ask for.

    Raises:
        BuildError: If an ABI, a model or a modern signature is missing, a model is another, or a
            permission is asked for that is not listed.
    """
    missing = [abi for abi in ABIS if abi not in contents.natives]
    if missing:
        raise BuildError(f"the APK lacks natives for {', '.join(missing)}")
    models = {
        name.rpartition("/")[2]: digest
        for name, digest in assets.items()
        if name.endswith(".tflite")
    }
    if contents.models != models:
        raise BuildError("the APK's models are not those that were written into its assets")
    extra = [name for name in contents.permissions if name not in permissions]
    if extra:
        raise BuildError(
            f"the APK asks for {', '.join(extra)}, which permissions.txt does not list"
        )
    if "v3" not in contents.signed_by:  # what Android 10 and later look at
        raise BuildError("the APK is not signed by scheme v3")
    unmapped = [name for name in (TABLE, *_assets(models)) if name not in contents.mapped]
    if unmapped:
        raise BuildError(f"the APK has {', '.join(unmapped)} compressed or unaligned")


def allowed_permissions(listing: Path = OFFLINE / "permissions.txt") -> list[str]:
    """Reads the list of permissions; lines that begin with # are comments."""
    lines = listing.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def table(contents: Contents) -> str:
    """Formats what a person wants to know."""
    mega = 1e6
    natives = ", ".join(f"{abi} {size / mega:.1f} MB" for abi, size in contents.natives.items())
    aligned = sorted({f"{value // 1024} KB" for value in contents.alignment.values()})
    rows = {
        "package": f"{contents.package} {contents.version}",
        "size": f"{contents.size_bytes / mega:.1f} MB",
        "models": f"{contents.sizes['models'] / mega:.1f} MB ({', '.join(contents.models)})",
        "code": f"{contents.sizes['dex'] / mega:.2f} MB",
        "natives": f"{natives}; aligned to {', '.join(aligned)}",
        "permissions": ", ".join(contents.permissions) or "none",
        "Android": f"API {contents.min_sdk} and later, made for API {contents.target_sdk}",
        "signature": ", ".join(contents.signed_by),
        "sha256": contents.sha256,
    }
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def load_alignment(library: bytes) -> int:
    """Returns the smallest alignment of an ELF file's LOAD segments, in bytes."""
    wide = library[4] == 2
    if wide:
        (table_at,) = struct.unpack_from("<Q", library, 32)
        size, count = struct.unpack_from("<HH", library, 54)
    else:
        (table_at,) = struct.unpack_from("<I", library, 28)
        size, count = struct.unpack_from("<HH", library, 42)
    found = []
    for i in range(count):
        at = table_at + i * size
        (kind,) = struct.unpack_from("<I", library, at)
        if kind == _LOAD:
            layout, offset = ("<Q", 48) if wide else ("<I", 28)
            found.append(int(struct.unpack_from(layout, library, at + offset)[0]))
    return min(found)


def _assets(models: dict[str, str]) -> list[str]:
    return [f"assets/models/{name}" for name in models]


def _mapped(apk: Path) -> list[str]:
    """Returns the entries whose bytes can be mapped: stored as they are, on a multiple of 4."""
    found = []
    content = apk.read_bytes()
    with zipfile.ZipFile(apk) as archive:
        for entry in archive.infolist():
            # The local header's name and extra field, whose sizes the central one may not have.
            name, extra = struct.unpack_from("<HH", content, entry.header_offset + 26)
            start = entry.header_offset + 30 + name + extra
            if entry.compress_type == zipfile.ZIP_STORED and start % 4 == 0:
                found.append(entry.filename)
    return found


def _one(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise BuildError(f"aapt says nothing of {pattern}")
    return found[1]
