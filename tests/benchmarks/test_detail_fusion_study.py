"""The study of detail fusion: what it says of pairs that it cannot compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bokeh_bench.studies.detail_fusion import METHODS, compare
from bokeh_runtime.errors import InputError

SUBJECT = np.s_[15:45, 30:60]
Shape = tuple[int, int]


def pair(
    folder: Path,
    *,
    sharp: Shape = (64, 96),
    bokeh: Shape = (64, 96),
    mask: Shape = (64, 96),
    subject: Any = SUBJECT,
    mask_type: type = np.uint8,
) -> Path:
    rng = np.random.default_rng(0)
    for kind, shape in (("sharp", sharp), ("bokeh", bokeh)):
        pixels = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"a_{kind}.jpg")
    # The subject's surroundings are not quite black.
    levels = np.full(mask, np.iinfo(mask_type).max // 4, mask_type)
    levels[subject] = np.iinfo(mask_type).max
    Image.fromarray(levels).save(folder / "a_mask.png")
    return folder


@pytest.mark.parametrize("mask_type", [np.uint8, np.uint16])
def test_each_method_is_compared_in_each_part(mask_type: type, tmp_path: Path) -> None:
    rows = compare(pair(tmp_path, mask_type=mask_type))
    assert [row.method for row in rows] == [*METHODS]
    parts = (rows[0].whole_db, rows[0].subject_db, rows[0].edge_db, rows[0].background_db)
    assert all(5 < db < 20 for db in parts)
    assert len(set(parts)) == 4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bokeh": (40, 60)}, "a_bokeh.jpg: is 40 x 60 px, a_sharp.jpg is 64 x 96; scale them"),
        ({"mask": (64, 95)}, "a_mask.png: is 64 x 95 px, a_sharp.jpg is 64 x 96; scale them"),
        ({"subject": np.s_[:0]}, "a_mask.png: leaves nothing of the subject; give a mask"),
        ({"subject": np.s_[20:30, 20:30]}, "a_mask.png: leaves nothing of the subject; give"),
        ({"subject": np.s_[:]}, "a_mask.png: leaves nothing of the edge; give a mask"),
        ({"subject": np.s_[5:60, 5:92]}, "a_mask.png: leaves nothing of the background; give"),
        (dict.fromkeys(("sharp", "bokeh", "mask"), (3, 9)), "a_sharp.jpg: is 3 x 9 px; give at"),
    ],
)
def test_a_pair_that_cannot_be_compared_is_one_line(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        compare(pair(tmp_path, **changed))
    assert str(error.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(error.value)
