"""A small model on disk, photos, and one conversion of the demo model for all tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bokeh_convert import Conversion, convert, demo_model
from helpers.models import small_model


@pytest.fixture(scope="session")
def small_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_model().save(path)
    return path


@pytest.fixture(scope="session")
def demo_conversions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    conversions = convert(
        demo_model(),
        quant=("float32", "float16", "dynamic", "int8"),
        output_dir=tmp_path_factory.mktemp("demo"),
    )
    return {conversion.report.scheme: conversion for conversion in conversions}


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder of six photos of several sizes and formats, names with spaces and umlauts."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = ["a.jpg", "b b.png", "ü.webp", "d.jpeg", "e.png", "写真.jpg"]
    for i, name in enumerate(names):
        noise = rng.integers(0, 256, (50 + 9 * i, 70, 3), dtype=np.uint8)
        good, encoded = cv2.imencode(Path(name).suffix, cv2.GaussianBlur(noise, (0, 0), 3))
        assert good
        (folder / name).write_bytes(encoded.tobytes())
    return folder
