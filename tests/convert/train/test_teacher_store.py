"""What is stored of a teacher, where the disk is full, a file is damaged or an output is wrong."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from bokeh_convert.data.calibration_data import Sample
from bokeh_convert.train import teacher_store
from bokeh_convert.train.checkpoint import CHECKPOINT, LOG, read_checkpoint, write_checkpoint
from bokeh_convert.train.teacher import _run_set, _shapes
from bokeh_convert.train.teacher_outputs import DESCRIPTION, HELD_OUT, Teacher, load_teacher
from bokeh_convert.train.teacher_store import describe, open_arrays, set_views_done, views_done
from bokeh_convert.train.views import ViewConfig
from bokeh_runtime.errors import InputError

SETS = {
    "crops": {"input": (np.uint8, (3, 8, 8, 3)), "l0": (np.float16, (3, 8, 8, 3))},
    "heldout": {"input": (np.uint8, (2, 8, 8, 3))},
}
BYTES = 3 * 192 + 3 * 192 * 2 + 2 * 192
TEACHER = Teacher("m.h5", 3, ("l0",), "area", None, True, False, (8, 8), 1, 1.0)


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_space_of_all_outputs_is_reserved_before_the_teacher_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[tuple[int, int]] = []

    def reserve(file: int, start: int, size: int) -> None:
        reserved.append((start, size))
        if len(reserved) == 6:
            full_disk()

    monkeypatch.setattr(os, "posix_fallocate", reserve, raising=False)
    open_arrays(tmp_path, SETS)
    sizes = [(tmp_path / name).stat().st_size for name in ("crops.input.npy", "crops.l0.npy")]
    assert reserved[:2] == [(0, size) for size in sizes]
    with pytest.raises(InputError) as raised:
        open_arrays(tmp_path, SETS)
    assert str(raised.value) == (
        f"{tmp_path}: the outputs of the teacher need {BYTES:,} bytes (No space left on device); "
        "free some space, or choose another folder"
    )
    assert not list(tmp_path.iterdir()), "what was reserved is given back"


def test_stored_views_stay_when_there_is_no_space_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_arrays(tmp_path, SETS)["crops"]["input"][:] = 7
    set_views_done(tmp_path, "crops", 2)
    monkeypatch.setattr(os, "posix_fallocate", full_disk, raising=False)
    with pytest.raises(InputError, match="free some space"):
        open_arrays(tmp_path, SETS)
    assert np.load(tmp_path / "crops.input.npy").mean() == 7


def test_a_file_system_that_reserves_nothing_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    assert open_arrays(tmp_path, SETS)["crops"]["l0"].shape == (3, 8, 8, 3)


@pytest.mark.parametrize("text", ["", "two", "-1", "4", "\x00\x00"])
def test_a_damaged_number_of_views_is_one_line(text: str, tmp_path: Path) -> None:
    set_views_done(tmp_path, "crops", 3)
    assert views_done(tmp_path, "crops", 3) == 3
    (tmp_path / "crops.done").write_text(text)
    with pytest.raises(InputError, match=r"crops\.done: is damaged; remove it, and the teacher"):
        views_done(tmp_path, "crops", 3)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"digest": '])
def test_a_damaged_description_is_one_line(text: str, tmp_path: Path) -> None:
    describe(tmp_path, TEACHER, "one")
    assert load_teacher(tmp_path) == TEACHER
    (tmp_path / DESCRIPTION).write_text(text)
    with pytest.raises(InputError, match=r"teacher\.json: is damaged \(.*\); remove ") as raised:
        describe(tmp_path, TEACHER, "one")
    assert "\n" not in str(raised.value)


def test_a_damaged_array_is_one_line(tmp_path: Path) -> None:
    open_arrays(tmp_path, SETS)
    set_views_done(tmp_path, "crops", 1)
    for damage in (b"", b"no array"):
        (tmp_path / "crops.l0.npy").write_bytes(damage)
        with pytest.raises(InputError, match=r"crops\.l0\.npy: is damaged \(.*\); remove "):
            open_arrays(tmp_path, SETS)
    np.save(tmp_path / "crops.l0.npy", np.zeros((2, 8, 8, 3), np.float16))
    with pytest.raises(InputError, match=r"is damaged \(holds float16 \[2, 8, 8, 3\]\)"):
        open_arrays(tmp_path, SETS)


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: set_views_done(folder, "crops", 2),
        lambda folder: describe(folder, TEACHER, "one"),
    ],
)
def test_a_full_disk_leaves_small_files_as_they_were(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_views_done(tmp_path, "crops", 1)
    describe(tmp_path, TEACHER, "one")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def truncate(path: Path, text: str) -> None:
        path.write_bytes(b"")
        full_disk()

    monkeypatch.setattr(Path, "write_text", truncate)
    with pytest.raises(InputError, match="No space left on device"):
        write(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_log_on_a_full_disk_is_one_line_and_the_checkpoint_is_kept(tmp_path: Path) -> None:
    (tmp_path / LOG).symlink_to("/dev/full")  # whose errors name no file
    with pytest.raises(InputError, match=r"log\.jsonl: cannot be written \(No space left"):
        write_checkpoint(tmp_path, {}, 3, {}, {"loss": 0.5})
    assert int(read_checkpoint(tmp_path / CHECKPOINT)[1]["step"]) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_of_the_teacher_that_is_not_finite_names_the_photo(
    value: float, tmp_path: Path
) -> None:
    samples = []
    for shade in (50, 200):
        samples.append(Sample(tmp_path / f"{shade}.png", None))
        cv2.imwrite(str(samples[-1].photo), np.full((16, 16, 3), shade, np.uint8))

    def run(image: np.ndarray) -> np.ndarray:
        return np.where(image > 0.5, value, image)  # fails for the second photo alone

    output = SimpleNamespace(shape=(1, 8, 8, 3))
    heads: dict[str, Any] = {
        "l0": SimpleNamespace(run=run, concrete=SimpleNamespace(outputs=[output]))
    }
    view = ViewConfig(2, 8, 8, 3, "area", None)
    folder = tmp_path / "teacher"
    folder.mkdir()
    arrays = open_arrays(folder, {HELD_OUT: _shapes(view, heads)})[HELD_OUT]
    with pytest.raises(InputError, match=r"200\.png: the teacher's output has NaN or infinity"):
        list(_run_set((folder, HELD_OUT, arrays), view, samples, heads))
    assert arrays["l0"][0].mean() == pytest.approx(50 / 255, abs=1e-3)
    assert teacher_store.views_done(folder, HELD_OUT, 2) == 0
