"""Stored outputs of a teacher that blurs, small enough to train on within seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bokeh_convert.train.teacher_outputs import CROPS, HELD_OUT, WHOLE


def store_blurring_teacher(folder: Path) -> None:
    """Writes 8 crops, 6 views and 2 held-out photos with the outputs of a head `l0`."""
    rng = np.random.default_rng(9)
    for name, count, size in ((CROPS, 8, (48, 48)), (WHOLE, 6, (64, 96)), (HELD_OUT, 2, (64, 96))):
        noise = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
        inputs = np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in noise])
        outputs = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in inputs])
        np.save(folder / f"{name}.input.npy", inputs)
        np.save(folder / f"{name}.l0.npy", (outputs / 255).astype(np.float16))
