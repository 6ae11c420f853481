"""The demo page as a site: what it consists of, served or written as static files."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.errors import InputError
from bokeh_runtime.model import input_image_shape
from bokeh_runtime.tflite.file import Tensor, read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web.pages import find_pages

INDEX = "index.html"
_LIST = "site-files.js"
_BENCHMARK_ALONE = ("bench.html", "bench/bench.js")


def demo_site(models: Sequence[Path]) -> dict[str, Path | bytes]:
    """Returns the files of the demo page and their contents, by their paths on the site.

    Args:
        models: .tflite files that a person can choose from; the first is chosen at the start.

    Raises:
        InputError: If the pages are not built, a model cannot be read, or the page cannot run it.
    """
    files: dict[str, Path | bytes] = {
        name: path
        for name, path in find_pages().files().items()
        if name not in _BENCHMARK_ALONE and not name.startswith("study/")
    }
    described = []
    for number, path in enumerate(models):
        content, about = site_model(path)
        # Not the file's name, which may hold anything.
        name = f"models/{number}.tflite"
        files[name] = content
        described.append({**about, "file": name})
    files["models.json"] = json.dumps(described, indent=1).encode()
    files[_LIST] = _list_of(files)
    return files


def export_site(models: Sequence[Path], folder: Path) -> Path:
    """Writes the demo page as static files, which any host with https can serve.

    Args:
        models: See `demo_site`.
        folder: Where to. An earlier site there is replaced as a whole.

    Returns:
        The path of the page.

    Raises:
        InputError: See `demo_site`; or if the folder holds anything else, or cannot be written.
    """
    site = demo_site(models)
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / _LIST).exists():
            raise InputError(f"{folder}: is not empty and holds no earlier site; give a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            new, old = Path(name) / "new", Path(name) / "old"
            for path, content in site.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                (new / path).write_bytes(
                    content if isinstance(content, bytes) else content.read_bytes()
                )
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return folder / INDEX


def tensor_info(tensor: Tensor) -> dict[str, Any]:
    """Returns what a page must know of a tensor, as JSON data."""
    scale, zero_point = tensor.quantization
    return {
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": scale,
        "zero_point": zero_point,
    }


def site_model(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Returns a model's content and what the page must know of it.

    Raises:
        InputError: If the model cannot be read, or does not take a photo alone.
    """
    options = EngineOptions()
    file = options.graph_of(read_tflite(path))
    height, width, channels = input_image_shape(file)
    if channels != 3:
        kind = "luminance alone" if channels == 1 else "a photo and a depth map"
        raise InputError(f"{path}: takes {kind}; the page runs networks of RGB photos")
    metadata = metadata_of(file)
    ranges = options.ranges_of(file)
    scheme = f"{metadata.scheme}, " if metadata else ""
    return file.content, {
        "name": path.stem,
        "about": f"{scheme}{height} x {width}, {len(file.content) / 1e6:.1f} MB",
        "input": tensor_info(file.tensors[file.inputs[0]]),
        "output": tensor_info(file.tensors[file.outputs[file.image_output_index]]),
        "output_index": file.image_output_index,
        "input_range": _ends(ranges.input),
        "output_range": _ends(ranges.output),
        "resampling": metadata.resampling if metadata else "area",
    }


def _ends(values: ValueRange) -> list[float]:
    return [values.low, values.high]


def _list_of(files: Mapping[str, Path | bytes]) -> bytes:
    """Returns the list for the service worker, with a version that changes with any content."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(name.encode() + b"\0")
        digest.update(content if isinstance(content, bytes) else content.read_bytes())
    listed = json.dumps({"version": digest.hexdigest()[:16], "files": sorted(files)})
    return f"self.SITE = {listed};\n".encode()
