"""The demo page as a site: what it consists of, served or written as static files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.errors import InputError
from bokeh_runtime.model import input_image_shape
from bokeh_runtime.tflite.file import Tensor, TfliteFile, read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web.pages import find_pages

INDEX = "index.html"
_ABOUT = "site.json"
_WORKER = "service-worker.js"
_LIST = "site-files.js"
_LIST_HEAD, _LIST_TAIL = "self.SITE = ", ";\n"
_BENCHMARK_ALONE = ("bench.html", "bench/bench.js")
# What `LiteRT.js` reads and writes.
_DTYPES = ("float32", "uint8")


def demo_site(
    models: Sequence[Path], options: EngineOptions | None = None, *, offline: bool = False
) -> dict[str, Path | bytes]:
    """Returns the files of the demo page and their contents, by their paths on the site.

    Args:
        models: .tflite files that a person can choose from; the first is chosen at the start.
        options: See `site_model`.
        offline: Whether browsers keep the site, by its service worker: for one that stays at its
            address. What they kept for another is never used again, nor removed.

    Raises:
        InputError: If the pages are not built, a model cannot be read, or the page cannot run it.
    """
    files: dict[str, Path | bytes] = {
        name: path
        for name, path in find_pages().files().items()
        if name not in _BENCHMARK_ALONE and not name.startswith("study/")
    }
    described = []
    for path in models:
        content, about = site_model(path, options)
        # Not the file's name, which may hold anything. Another model gets another name, so that a
        # page that is open during an update finds no model that its description does not fit.
        name = f"models/{hashlib.sha256(content).hexdigest()[:16]}.tflite"
        files[name] = content
        reference = _reference_of(path)
        pictures = None
        if reference is not None:
            pictures = f"models/{hashlib.sha256(reference).hexdigest()[:16]}.reference"
            files[pictures] = reference
        described.append({**about, "file": name, "reference": pictures})
    files["models.json"] = json.dumps(described, indent=1).encode()
    files[_ABOUT] = json.dumps({"offline": offline}).encode()
    if offline:
        files[_LIST] = _list_of(files)
    else:
        del files[_WORKER]
    return files


def export_site(models: Sequence[Path], folder: Path, options: EngineOptions | None = None) -> Path:
    """Writes the demo page as static files, which any host with https can serve.

    Args:
        models: See `demo_site`.
        folder: Where to. Of an earlier site there, the files that it consisted of are replaced;
            others, such as `.git` or a host's settings, stay.
        options: See `site_model`.

    Returns:
        The path of the page.

    Raises:
        InputError: See `demo_site`; or if the folder holds no earlier site but other files, or
            cannot be written.
    """
    site = demo_site(models, options, offline=True)
    try:
        earlier = _listed(folder)
        if earlier is None and folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: is not empty and holds no earlier site; give a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new.") as name:
            new = Path(name)
            for path, content in site.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_bytes(
                    content if isinstance(content, bytes) else content.read_bytes()
                )
            # The list comes last: with it, browsers find the new version.
            for path in sorted(site, key=lambda path: path == _LIST):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(new / path, folder / path)
        for path in (earlier or set()) - set(site):
            (folder / path).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return folder / INDEX


def _listed(folder: Path) -> set[str] | None:
    """Returns the paths of the files of the site in a folder; None if it holds none.

    Raises:
        InputError: If its list is damaged.
    """
    file = folder / _LIST
    if not file.exists():
        return None
    try:
        text = file.read_text(encoding="utf-8")
        names = set(json.loads(text.removeprefix(_LIST_HEAD).removesuffix(_LIST_TAIL))["files"])
        paths = [PurePosixPath(name) for name in names]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is damaged, so the earlier site is not known; delete it") from (
            error
        )
    # A list that somebody else wrote must not name files elsewhere for deletion.
    return {str(path) for path in paths if not path.is_absolute() and ".." not in path.parts}


def tensor_info(tensor: Tensor) -> dict[str, Any]:
    """Returns what a page must know of a tensor, as JSON data."""
    scale, zero_point = tensor.quantization
    return {
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": scale or 1.0,  # a scale of 0 stands for integers as they are
        "zero_point": zero_point,
    }


def site_model(path: Path, options: EngineOptions | None = None) -> tuple[bytes, dict[str, Any]]:
    """Returns a model's content and what the page must know of it.

    Args:
        path: A .tflite file.
        options: Its signature and value ranges count; the default goes by the file.

    Raises:
        InputError: If the model cannot be read, does not take a photo alone, or is of a kind that
            LiteRT.js does not run.
    """
    options = options or EngineOptions()
    file = read_tflite(path)
    _check_size(file)
    file = options.graph_of(file)
    height, width, channels = input_image_shape(file)
    if channels != 3:
        kind = "luminance alone" if channels == 1 else "a photo and a depth map"
        raise InputError(f"{path}: takes {kind}; the page runs networks of RGB photos")
    output = file.tensors[file.outputs[file.image_output_index]]
    for tensor in (file.tensors[file.inputs[0]], output):
        if tensor.dtype not in _DTYPES:
            raise InputError(
                f"{path}: has {tensor.dtype} images, and browsers take {' and '.join(_DTYPES)}; "
                "convert with --quant int8 or float16"
            )
    metadata = metadata_of(file)
    ranges = options.ranges_of(file)
    scheme = f"{metadata.scheme}, " if metadata else ""
    return file.content, {
        "name": path.stem,
        "about": f"{scheme}{height} x {width}, {len(file.content) / 1e6:.1f} MB",
        "input": tensor_info(file.tensors[file.inputs[0]]),
        "output": tensor_info(output),
        "output_index": file.image_output_index,
        "total_ops": len(file.operators),
        "float_sums": any(operator.name == "CONV_2D" for operator in file.operators),
        "input_range": _ends(ranges.input),
        "output_range": _ends(ranges.output),
        "resampling": metadata.resampling if metadata else "area",
    }


def _reference_of(path: Path) -> bytes | None:
    """Returns what a page compares a GPU's picture with; None if the model has no fitting pack.

    It is the network's input for the pack's first photo, uint8, and the full model's output for
    it, little-endian float32.
    """
    file = read_tflite(path)
    metadata = metadata_of(file)
    reference = find_reference(path, metadata)
    if metadata is None or reference is None:
        return None
    photo, full = reference.inputs[0], reference.outputs[0]
    output = file.tensors[file.outputs[file.image_output_index]]
    shapes = file.tensors[file.inputs[0]].shape[1:], output.shape[1:]
    source = metadata.source.get("sha256")
    another = source and reference.source_sha256 and source != reference.source_sha256
    if another or (photo.shape, full.shape) != shapes:
        return None
    return photo.tobytes() + full.astype("<f4").tobytes()


def _check_size(file: TfliteFile) -> None:
    tensor = file.tensors[file.inputs[0]]
    if len(tensor.shape) == 4 and any(tensor.is_open(i) and tensor.shape[i] == 1 for i in (1, 2)):
        raise InputError(
            f"{file.path}: its input size is open, and a browser runs files of a fixed size; "
            "convert the network with --size, such as --size 256x384"
        )


def _ends(values: ValueRange) -> list[float]:
    return [values.low, values.high]


def _list_of(files: Mapping[str, Path | bytes]) -> bytes:
    """Returns the list for the service worker, with a version that changes with any content."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + b"\0")
        digest.update(content if isinstance(content, bytes) else content.read_bytes())
    listed = json.dumps({"version": digest.hexdigest()[:16], "files": sorted(files)})
    return f"{_LIST_HEAD}{listed}{_LIST_TAIL}".encode()
