"""Finds the libraries of a vendor's compiler, and links them together in a folder of the user.

LiteRT's plugin for Qualcomm looks for all of Qualcomm's libraries by name, but the package
onnxruntime-qnn keeps them in two folders, and lacks one that the plugin asks for and never uses. So
they are linked in a folder below `cache_folder`. No package is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from platformdirs import user_cache_path

from bokeh_convert.npu.vendors import NpuTarget, Vendor
from bokeh_runtime.errors import HardwareError

CACHE = "BOKEH_CACHE"
"""Environment variable with the folder for what can be made again."""
QNN_PACKAGE = "onnxruntime-qnn"
_UNUSED_BY_LITERT = "libQnnLpai.so"
_STANDS_FOR_IT = "libQnnSystem.so"


@dataclass(frozen=True)
class Toolchain:
    """A compiler that is installed.

    Attributes:
        tool: LiteRT's program that applies a compiler plugin to a file.
        plugin: Folder of the vendor's compiler plugin.
        library_path: Folders with the libraries that both need.
        versions: Versions of the packages that it consists of, by their names.
        licence: File or page with the licence of the vendor's libraries; None if it is not known.
    """

    tool: Path
    plugin: Path
    library_path: tuple[Path, ...]
    versions: dict[str, str]
    licence: str | None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for a process that loads the libraries."""
        before = os.environ.get("LD_LIBRARY_PATH")
        folders = [*map(str, self.library_path), *([before] if before else [])]
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(folders)}


def cache_folder() -> Path:
    """Returns the folder for what can be made again: BOKEH_CACHE, or the user's cache folder."""
    given = os.environ.get(CACHE)
    return Path(given) if given else user_cache_path("bokeh-tflite", appauthor=False)


def find_toolchain(npu: NpuTarget) -> Toolchain:
    """Returns the compiler for an NPU.

    Raises:
        HardwareError: If it is not installed; the message says how to get it.
    """
    vendor = npu.vendor
    litert = _folder_of("ai_edge_litert")
    tool = None if litert is None else litert / "tools/apply_plugin_main"
    plugin = None if litert is None else litert / "vendors" / vendor.plugin / "compiler"
    if tool is None or plugin is None or not tool.is_file() or not any(plugin.glob("*.so")):
        raise HardwareError(
            f"{npu.name}: this ai-edge-litert has no compiler plugin for {vendor.title} on "
            f"{platform.system()} {platform.machine()}; use Linux on x86-64 and Python 3.11"
        )
    assert litert is not None
    qnn = _folder_of("onnxruntime_qnn") if vendor.name == "qualcomm" else None
    if qnn is not None and (qnn / "libQnnHtp.so").is_file():
        libraries, package = _link_qnn(qnn), QNN_PACKAGE
        licence = qnn / "Qualcomm_LICENSE.pdf"
    else:
        libraries, package = _sdk_libraries(npu), vendor.sdk.replace("_", "-")
        licence = libraries / "LICENSE"
    return Toolchain(
        tool,
        plugin,
        (libraries, litert),
        {name: _version(name) for name in ("ai-edge-litert", package)},
        str(licence) if licence.is_file() else None,
    )


def licence_notice(vendor: Vendor, toolchain: Toolchain) -> str | None:
    """Returns a remark on the licence of a vendor's libraries, the first time it is asked for.

    That it was given is noted in the cache folder, for each version of the libraries.
    """
    packages = " and ".join(f"{name} {number}" for name, number in toolchain.versions.items())
    given = cache_folder() / "npu" / f"licence-{vendor.name}-{_digest(packages)}"
    if given.exists():
        return None
    # Without a folder to write to, the remark is given each time.
    with contextlib.suppress(OSError):
        given.parent.mkdir(parents=True, exist_ok=True)
        given.write_text(f"{packages}\n", encoding="utf-8")
    where = toolchain.licence or f"of the package {list(toolchain.versions)[-1]}"
    return (
        f"The compiler uses {vendor.title}'s own libraries, which are not a part of bokeh-tflite, "
        f"under {vendor.title}'s licence: {where}"
    )


def _link_qnn(package: Path) -> Path:
    """Links the libraries of onnxruntime-qnn in one folder, and returns it."""
    found = {
        path.name: path
        for folder in (package, package.with_name(f"{package.name}.libs"))
        for pattern in ("libQnn*.so", "libHtpPrepare.so", "libc++*", "libunwind*")
        for path in folder.glob(pattern)
    }
    if _UNUSED_BY_LITERT not in found and _STANDS_FOR_IT in found:
        found[_UNUSED_BY_LITERT] = found[_STANDS_FOR_IT]
    key = _digest("\n".join(f"{name} {path}" for name, path in sorted(found.items())))
    folder = cache_folder() / "npu" / f"qualcomm-{_version(QNN_PACKAGE)}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in found.items():
            _link(folder / name, path)
    except OSError as error:
        raise HardwareError(
            f"{folder}: cannot link Qualcomm's libraries ({error.strerror}); set {CACHE} to a "
            "folder that can be written to"
        ) from error
    return folder


def _link(link: Path, target: Path) -> None:
    """Makes a symbolic link at once, since other processes may be making it too."""
    if link.is_symlink() and link.readlink() == target:
        return
    with tempfile.TemporaryDirectory(dir=link.parent) as folder:
        new = Path(folder) / link.name
        new.symlink_to(target)
        new.replace(link)


def _sdk_libraries(npu: NpuTarget) -> Path:
    """Returns the folder of libraries in LiteRT's package for a vendor."""
    vendor = npu.vendor
    missing = HardwareError(f"{npu.name}: {vendor.title}'s compiler is missing; {vendor.install}")
    if importlib.util.find_spec(vendor.sdk) is None:
        raise missing
    try:
        path_to_libraries = importlib.import_module(vendor.sdk).path_to_sdk_libs
        arguments = () if vendor.name != "mediatek" else ("v9" if npu.chip == "MT6993" else "v8",)
        folder = path_to_libraries(*arguments)
    except Exception as error:  # a package of the vendor's raises anything
        raise missing from error
    if folder is None or not any(Path(folder).glob("*.so*")):
        raise missing
    return Path(folder)


def _folder_of(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
