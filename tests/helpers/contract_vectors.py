"""Writes the small vectors of preparing and joining: `python tests/helpers/contract_vectors.py`.

Call it after a change of the algorithm; otherwise a test holds Python to the committed files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bokeh_runtime import contract
from bokeh_runtime.contract.constants import PREPARE
from bokeh_runtime.imaging.detail_fusion import focus_mask, fuse_detail
from bokeh_runtime.imaging.photo import FloatImage, Pixels, to_unit
from bokeh_runtime.imaging.resample import Frame, scale

FOLDER = Path(contract.__file__).parent / "vectors"
FRAMES = [
    ((300, 400), (256, 384), 1.0), ((400, 300), (256, 384), 0.5), ((333, 517), (64, 96), 2.0),
    ((9, 200), (64, 96), 0.5), ((1, 1), (64, 96), 1.0), ((64, 96), (64, 96), 1.0),
    ((4000, 3000), (512, 768), 0.5), ((1, 5000), (64, 96), 1.0),
    ((1, 5000), (64, 96), 0.5),
]  # fmt: skip
SIZES = [(3, 4), (5, 7), (6, 8), (9, 12), (5, 11)]
STRENGTHS = (1.0, 0.4, 0.0)


def prepare() -> dict[str, Any]:
    """Returns frames, margins and scaled photos."""
    photo = _photo(6, 8)
    small = to_unit(_photo(2, 3))
    return {
        "schema": "bokeh-tflite/prepare-vectors/1",
        "frames": [_frame(*case) for case in FRAMES],
        "margins": {
            "image": _image(small),
            "frame": [1, 2, 2, 3],
            "padded": _image(Frame(1, 2, 2, 3).pad(small, (6, 9))),
        },
        "photo": _image(photo),
        "scaled": [
            {"resampling": way, "image": _image(scale(photo, *size, way))}
            for way in PREPARE.resampling
            for size in SIZES
        ],
    }


def join() -> dict[str, Any]:
    """Returns photos joined with outputs that are smaller and larger."""
    cases = []
    for height, width in ((16, 24), (7, 10)):
        photo = _photo(height, width)
        output = _output(photo, 8, 12)
        results = [
            {
                "strength": strength,
                "image": _image(fuse_detail(photo, output, None, strength=strength)),
            }
            for strength in STRENGTHS
        ]
        cases.append({"photo": _image(photo), "network_output": _image(output), "results": results})
    photo = _photo(16, 24)
    network_input, output = scale(photo, 8, 12), _output(photo, 8, 12)
    focus = {
        "network_input": _image(network_input),
        "network_output": _image(output),
        "focus": _image(focus_mask(network_input, output)[..., np.newaxis]),
    }
    return {"schema": "bokeh-tflite/join-vectors/1", "focus": focus, "joined": cases}


def _frame(photo: tuple[int, int], network: tuple[int, int], factor: float) -> dict[str, Any]:
    frame = Frame.within(photo, network)
    scaled = frame.scaled(factor)
    return {
        "photo": photo,
        "network": network,
        "frame": [frame.top, frame.left, frame.height, frame.width],
        "output_scale": factor,
        "output_frame": [scaled.top, scaled.left, scaled.height, scaled.width],
    }


def _photo(height: int, width: int) -> Pixels:
    """A gradient with noise, so that every value counts."""
    rows, columns, channels = np.mgrid[0:height, 0:width, 0:3]
    noise = np.random.default_rng(height * width).integers(0, 60, (height, width, 3))
    return np.asarray((rows * 9 + columns * 5 + channels * 30 + noise) % 256, np.uint8)


def _output(photo: Pixels, height: int, width: int) -> FloatImage:
    """What a network might give: blurred on the left, as it was on the right, in four decimals."""
    output = scale(photo, height, width).astype(np.float64)
    half = width // 2
    output[:, :half] = output[:, :half].mean(axis=(0, 1)) * 0.8 + output[:, :half] * 0.2
    return np.round(output, 4).astype(np.float32)


def _image(image: FloatImage | Pixels) -> dict[str, Any]:
    """Returns shape and values, rows first; floats in seven decimals."""
    values = image.ravel().tolist()
    if image.dtype != np.uint8:
        values = [round(value, 7) for value in values]
    return {"shape": list(image.shape), "values": values}


def text(data: dict[str, Any]) -> str:
    """Returns JSON with one line for each entry of its lists."""
    sections = []
    for key, value in data.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {json.dumps(entry)}" for entry in value)
            sections.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            sections.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


if __name__ == "__main__":
    for name, made in (("prepare", prepare()), ("join", join())):
        (FOLDER / f"{name}.json").write_text(text(made), encoding="utf-8")
