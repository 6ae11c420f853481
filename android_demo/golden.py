"""Writes what Python's runtime does, for the app's tests: `golden.py FOLDER`.

`golden.json` lists photos with the network's input, its output and the finished picture (arrays as
raw files, little-endian), and pictures scaled in each way that a model may ask for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bokeh_runtime import BokehModel, TfliteModel, read_photo
from bokeh_runtime.imaging.resample import RESAMPLING, Frame, scale
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = REPOSITORY / "tests/data/small_float32.tflite"
RANGED = ("range_signed", "range_bytes", "range_bytes_to_unit")
"""Models of -1..1, of 0..255, and of 0..255 to 0..1."""
SIZES = ((300, 400), (333, 517), (517, 333), (70, 101), (40, 50), (9, 200), (1, 1))


def write(folder: Path) -> None:
    """Writes the golden data into a folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    renderings = [
        _rendering(folder, f"{height}x{width}", _scene(height, width), SMALL, strength)
        for height, width in SIZES
        for strength in (1.0, 0.4)
    ]
    large = read_photo(REPOSITORY / "benchmarks/photos/dandelion.jpg").pixels[::3, ::3]
    for name in SHIPPED_MODELS:
        photo = np.ascontiguousarray(large, np.uint8)
        renderings.append(_rendering(folder, name, photo, shipped_model(name), 1.0))
    for name in RANGED:
        model = REPOSITORY / f"tests/data/{name}.tflite"
        renderings.append(_rendering(folder, name, _scene(90, 140), model, 1.0))
    scales = []
    for way in RESAMPLING:
        for size in ((64, 96), (75, 100), (23, 7), (300, 401), (500, 600)):
            name = f"scale_{way}_{size[0]}x{size[1]}"
            scene = _scene(300, 400)
            _raw(folder / f"{name}.rgb", scene)
            _raw(folder / f"{name}.f32", scale(scene, *size, way))
            scales.append({"name": name, "photo": [300, 400], "size": size, "resampling": way})
    data = {"renderings": renderings, "scales": scales}
    (folder / "golden.json").write_text(json.dumps(data, indent=1), encoding="utf-8")


def _rendering(
    folder: Path, name: str, photo: npt.NDArray[np.uint8], model: Path, strength: float
) -> dict[str, object]:
    """Renders once, and keeps the network's input and output, in its own value ranges."""
    name = f"{name}_{strength}"
    with BokehModel.open(model, "cpu") as opened:
        height, width = photo.shape[:2]
        network = opened.input_shape[:2]
        frame = Frame.within((height, width), network)
        metadata = opened.metadata
        assert metadata is not None
        seen = scale(photo, frame.height, frame.width, metadata.resampling)
        tensor = metadata.ranges.input.from_unit(frame.pad(seen, network))
        raw = TfliteModel(model.read_bytes(), threads=1)  # scales nothing
        output = raw.run(tensor)
        result = opened.render(photo, strength=strength).pixels
    _raw(folder / f"{name}.rgb", photo)
    _raw(folder / f"{name}.tensor", tensor)
    _raw(folder / f"{name}.output", output)
    _raw(folder / f"{name}.result", np.asarray(result, np.uint8))
    return {
        "name": name,
        "photo": [height, width],
        "model": str(model.relative_to(REPOSITORY)),
        "strength": strength,
        "output_shape": list(output.shape),
    }


def _scene(height: int, width: int) -> npt.NDArray[np.uint8]:
    """A photo with detail of every size."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = sum(np.sin(rows / period) * np.cos(columns / period) for period in (1.5, 4, 11, 40))
    noise = np.random.default_rng(height * width).normal(0, 12, (height, width, 3))
    scene = 128 + 20 * np.asarray(waves)[..., None] + noise
    return np.clip(scene, 0, 255).astype(np.uint8)


def _raw(path: Path, array: npt.NDArray[np.generic]) -> None:
    path.write_bytes(np.ascontiguousarray(array).tobytes())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
