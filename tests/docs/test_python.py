"""The Python blocks of the documentation run, with small models in the place of the user's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from docs.pages import ROOT, Block, blocks

PHOTO = ROOT / "convert/bokeh_convert/photos/calibration/cat.jpg"
# What a block names, and the file of tests/data that takes its place.
FILES = {"model.h5": "keras2_addons.h5", "model_int8.tflite": "small_int8.tflite"}
BLOCKS = [pytest.param(block, id=str(block)) for block in blocks("python")]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(
    block: Block, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "photo.jpg")
    for name, source in FILES.items():
        shutil.copy(data / source, name)
    exec(compile(block.code, str(block), "exec"), {"__name__": "__main__"})


def test_there_are_blocks_of_the_library_calls() -> None:
    code = "\n".join(block.code for block in blocks("python"))
    assert "from bokeh_convert import convert" in code
    assert "from bokeh_runtime import BokehModel" in code
