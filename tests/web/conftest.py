from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock

from helpers.browsers import INSECURE, SWIFTSHADER, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCHEMES = ("float16", "int8", "full-integer", "int16x8")


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network of 64 x 96 in each scheme, with its reference pack."""
    pytest.importorskip("tensorflow")
    from bokeh_convert import convert
    from helpers.models import small_model

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "web.lock"):
        kept = folder / "web"
        if not kept.exists():
            source = tmp_path_factory.mktemp("source") / "small.keras"
            small_model(3, (64, 96)).save(source)
            new = tmp_path_factory.mktemp("converted")
            convert(source, quant=SCHEMES, output_dir=new)
            new.rename(kept)
    return {scheme: kept / f"small_{scheme}.tflite" for scheme in SCHEMES}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(*SWIFTSHADER, INSECURE) as found:
        yield found


@pytest.fixture
def photo(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A photo of smooth colours and fine detail, larger than the small network's input."""
    import cv2

    smooth = cv2.resize(
        rng.random((6, 8, 3), np.float32), (320, 240), interpolation=cv2.INTER_CUBIC
    )
    pixels = np.clip(255 * (0.8 * smooth + 0.2 * rng.random((240, 320, 1))), 0, 255)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), pixels.astype(np.uint8))
    return path
