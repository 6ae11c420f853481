"""Draws pairs to train on: a sharp disc before a background, which is sharp and blurred."""

import cv2
import numpy as np
import numpy.typing as npt

Pictures = npt.NDArray[np.float32]


def generated_pairs(count: int, size: int = 64) -> tuple[Pictures, Pictures]:
    """Returns photos and what a large lens would make of them.

    Real pairs are photos of one scene with a narrow and a wide aperture, as in EBB!.

    Returns:
        Two arrays, float32 [count, size, size, 3], RGB from 0 to 1.
    """
    rng = np.random.default_rng(0)
    photos, targets = [], []
    for _ in range(count):
        background = rng.random((size // 4, size // 4, 3), np.float32)
        background = cv2.resize(background, (size, size), interpolation=cv2.INTER_NEAREST)
        disc = np.zeros((size, size, 1), np.uint8)
        row, column = (int(value) for value in rng.integers(size // 3, 2 * size // 3, 2))
        cv2.circle(disc, (column, row), size // 4, 1, -1)
        subject = np.array([0.9, 0.6, 0.2], np.float32)
        blurred = cv2.GaussianBlur(background, (0, 0), 2)
        photos.append(np.where(disc, subject, background))
        targets.append(np.where(disc, subject, blurred))
    return np.stack(photos).astype(np.float32), np.stack(targets).astype(np.float32)
