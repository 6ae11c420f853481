"""The examples run from a checkout without arguments, and draw what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import nbclient
import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MODULES = {"generated_pairs"}  # what others import
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem not in MODULES)
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
SETTINGS = {
    "train_on_ebb": """
pairs = 3
network = "--width 0.05 --no-depth --residual --head l5"
training = "--steps 2 --batch 1 --crop 32 --short-side 40"
"""
}
"""What the tests change in the cell with the settings."""
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as far as the examples look at it, so that they write into none of ours."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    return tmp_path


def draw_ebb(folder: Path) -> None:
    """Writes pairs in the layout of EBB!: four to train on, one held out."""
    rng = np.random.default_rng(6)
    for name, split in ((1, "train"), (2, "train"), (3, "train"), (4, "train"), (5, "test")):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        sharp = cv2.resize(coarse, (96, 72), interpolation=cv2.INTER_NEAREST)
        for part, image in (("original", sharp), ("bokeh", cv2.GaussianBlur(sharp, (0, 0), 3))):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / split / part / f"{name}.jpg"), image)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_runs(script: Path, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, checkout / "examples" / script.name],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, **QUIET, "XDG_CACHE_HOME": str(checkout / "cache")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    written = [path for path in (checkout / "build").rglob("*") if path.is_file()]
    assert written or script.stem == "use_the_library"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_ebb(checkout / "examples" / "EBB")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in QUIET.items():
        if name != "MPLBACKEND":  # the kernel's own shows pictures in the notebook
            monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    if path.stem in SETTINGS:
        at = [cell.metadata.get("tags") for cell in notebook.cells].index(["parameters"])
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(SETTINGS[path.stem]))
    run = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(checkout / "examples")}},
    ).execute()
    outputs = [output for cell in run.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_the_list_of_examples_names_each() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in (*SCRIPTS, *NOTEBOOKS))
    assert len(SCRIPTS) == 5
