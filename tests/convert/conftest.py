"""A small model on disk, photos, and one conversion of the demo model for all tests."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from bokeh_convert import Conversion, convert, demo_model
from helpers.models import small_model


@pytest.fixture(scope="session")
def small_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.keras"
    small_model().save(path)
    return path


@pytest.fixture(scope="session")
def demo_conversions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Conversion]:
    """One conversion for all processes of pytest-xdist: it takes half a minute."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / "demo.pickle"
    with FileLock(folder / "demo.lock"):
        if not kept.exists():
            schemes = ("float32", "float16", "dynamic", "int8")
            made = convert(demo_model(), quant=schemes, output_dir=folder / "demo")
            kept.write_bytes(pickle.dumps({one.report.scheme: one for one in made}))
    conversions: dict[str, Conversion] = pickle.loads(kept.read_bytes())
    return conversions


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
