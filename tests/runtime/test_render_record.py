"""Which photos of a folder are rendered again."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bokeh_runtime import BokehModel, InputError, Photo, read_photo, write_photo
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.imaging.photo import can_write
from bokeh_runtime.render import RenderOptions, render_files
from bokeh_runtime.render_jobs import COMPARISON_SUFFIX, Job, check_case_collisions, jobs_for_folder
from bokeh_runtime.render_record import RECORD, RenderRecord, result_provenance
from bokeh_runtime.render_run import RenderRequest, render_photos
from helpers import commands

NAMES = ("a.jpg", "b.png", "c.webp")


@pytest.fixture
def photos(tmp_path: Path, scene: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(NAMES):
        write_photo(folder / name, Photo(scene[:100, 10 * i : 10 * i + 120]))
    return folder


def render(cwd: Path, *arguments: object) -> dict[str, Any]:
    done = commands.command(
        "bokeh-render", "photos", "-o", "out", "-d", "cpu", "--json", *arguments, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return {**report, "stderr": done.stderr}


def rendered(report: dict[str, Any]) -> list[str]:
    return [Path(entry["photo"]).name for entry in report["photos"]]


@pytest.mark.slow
def test_another_model_renders_the_folder_again(photos: Path, data: Path, tmp_path: Path) -> None:
    float16, int8 = data / "small_float16.tflite", data / "small_int8.tflite"
    assert rendered(render(tmp_path, "-m", float16)) == list(NAMES)
    first = read_photo(tmp_path / "out" / "b.png").pixels
    again = render(tmp_path, "-m", float16)
    assert (rendered(again), again["up_to_date"], again["rerendered"]) == ([], 3, [])
    assert "0 rendered, 3 up to date, 0 failed" in again["stderr"]

    other = render(tmp_path, "-m", int8)
    assert rendered(other) == list(NAMES)
    assert other["rerendered"] == [{"reason": "the model changed", "photos": 3}]
    assert "rendering 3 photos again: the model changed" in other["stderr"]
    assert (read_photo(tmp_path / "out" / "b.png").pixels != first).any()
    # By content: a copy of the model is the same one.
    shutil.copy(int8, tmp_path / "copy.tflite")
    assert rendered(render(tmp_path, "-m", tmp_path / "copy.tflite")) == []


class Folder:
    """Renders as the command does, without a process each time."""

    def __init__(self, photos: Path, output: Path, model: BokehModel) -> None:
        output.mkdir(exist_ok=True)
        self.photos, self.output, self.model = photos, output, model

    def run(
        self,
        options: RenderOptions | None = None,
        depth: Path | None = None,
        depth_model: DepthModel | None = None,
    ) -> dict[str, int]:
        """Returns how many were rendered, and how many of them again for which cause."""
        options = options or RenderOptions()
        jobs, _ = jobs_for_folder(self.photos, self.output, depth)
        record = RenderRecord(self.output)
        provenance = {job: result_provenance(job, self.model, options, depth_model) for job in jobs}
        outdated = record.find_outdated(jobs, provenance)
        record.begin(outdated.jobs)
        rendered = render_files(self.model, outdated.jobs, options, depth_model)
        for job, outcome in zip(outdated.jobs, rendered, strict=True):
            assert not isinstance(outcome, InputError), outcome
            record.add(job, provenance[job])
        record.end()
        return {"rendered": len(outdated.jobs), **outdated.reasons}


@pytest.fixture
def folder(photos: Path, tmp_path: Path, data: Path) -> Folder:
    made = Folder(photos, tmp_path / "out", BokehModel.open(data / "small_float16.tflite", "cpu"))
    assert made.run() == {"rendered": 3}
    assert made.run() == {"rendered": 0}
    return made


@pytest.mark.parametrize(
    "options",
    [
        RenderOptions(strength=0.5),
        RenderOptions(network_resolution=True),
        RenderOptions(quality=80),
    ],
    ids=["strength", "network resolution", "quality"],
)
def test_other_options_render_again(folder: Folder, options: RenderOptions) -> None:
    assert folder.run(options) == {"rendered": 3, "the options changed": 3}
    assert folder.run(options) == {"rendered": 0}
    assert folder.run() == {"rendered": 3, "the options changed": 3}


@pytest.mark.slow
def test_a_missing_comparison_is_written(folder: Folder) -> None:
    compare = RenderOptions(compare=True)
    assert folder.run(compare) == {"rendered": 3, "the comparison picture is missing": 3}
    assert folder.run(compare) == {"rendered": 0}
    assert folder.run() == {"rendered": 0}
    (folder.output / f"a.jpg{COMPARISON_SUFFIX}").unlink()
    assert folder.run(compare) == {"rendered": 1, "the comparison picture is missing": 1}


def touch(folder: Folder) -> None:
    os.utime(folder.photos / "a.jpg", ns=(1, 1))  # older than before, too


def lose_result(folder: Folder) -> None:
    (folder.output / "a.jpg").unlink()


@pytest.mark.parametrize(
    ("change", "causes"),
    [
        (touch, {"the photo changed": 1}),
        (lose_result, {}),
    ],
)
def test_changed_files_are_rendered_again(
    folder: Folder, change: Callable[[Folder], None], causes: dict[str, int]
) -> None:
    change(folder)
    assert folder.run() == {"rendered": 1, **causes}
    assert folder.run() == {"rendered": 0}
    assert read_photo(folder.output / "a.jpg").pixels.shape == (100, 120, 3)


def test_a_result_that_was_edited_is_kept(photos: Path, tmp_path: Path, data: Path) -> None:
    model = data / "small_float16.tflite"
    render(tmp_path, "-m", model)
    edited = tmp_path / "out" / "a.jpg"
    shutil.copy(photos / "a.jpg", edited)
    before = edited.read_bytes()
    os.utime(photos / "a.jpg", ns=(1, 1))
    report = render(tmp_path, "-m", model, "--strength", "0.5")
    assert (rendered(report), report["kept_edited"], report["up_to_date"]) == (
        ["b.png", "c.webp"], 1, 0,
    )  # fmt: skip
    assert "keeping 1 result that was modified after rendering; --overwrite" in report["stderr"]
    assert edited.read_bytes() == before
    assert rendered(render(tmp_path, "-m", model, "--overwrite")) == list(NAMES)
    assert edited.read_bytes() != before


def test_a_file_that_is_no_result_is_not_replaced(folder: Folder) -> None:
    shutil.copy(folder.photos / "a.jpg", folder.photos / "d.jpg")
    original = folder.output / "d.jpg"
    original.write_bytes(b"another photo")
    cause = r"out.d\.jpg: would be replaced, and bokeh-render did not write it; choose another"
    with pytest.raises(InputError, match=cause):
        folder.run()
    (folder.output / RECORD).unlink()
    with pytest.raises(InputError, match=r"out.a\.jpg and 3 more: would be replaced"):
        folder.run()
    assert original.read_bytes() == b"another photo"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"schema": "other"}', "[" * 100_000, '"\\ud800"', "\0"],
)
def test_a_damaged_record_renders_again(folder: Folder, content: str) -> None:
    (folder.output / RECORD).write_text(content)
    assert folder.run() == {"rendered": 3, ".bokeh-render.json is damaged": 3}
    assert folder.run() == {"rendered": 0}


@pytest.mark.parametrize("number", ["1", "99"])
def test_a_record_of_another_version_renders_again(folder: Folder, number: str) -> None:
    record = json.loads((folder.output / RECORD).read_text())
    record["schema"] = f"{record['schema'].rpartition('/')[0]}/{number}"
    (folder.output / RECORD).write_text(json.dumps(record))
    reason = ".bokeh-render.json was written by another version of bokeh-tflite"
    assert folder.run() == {"rendered": 3, reason: 3}
    assert folder.run() == {"rendered": 0}


def test_a_damaged_entry_renders_its_photo_again(folder: Folder) -> None:
    record = json.loads((folder.output / RECORD).read_text())
    record["results"]["a.jpg"] = None
    record["results"]["b.png"] = {"photo": "no"}
    (folder.output / RECORD).write_text(json.dumps(record))
    assert folder.run()["rendered"] == 2
    assert folder.run() == {"rendered": 0}


def test_a_record_lists_only_existing_results(folder: Folder) -> None:
    for name in NAMES[:2]:
        (folder.photos / name).unlink()
        (folder.output / name).unlink()
    folder.run()
    assert list(json.loads((folder.output / RECORD).read_text())["results"]) == ["c.webp"]


def test_another_version_or_device_renders_again(folder: Folder) -> None:
    record = json.loads((folder.output / RECORD).read_text())
    record["results"]["a.jpg"]["version"] = "0.0.1"
    record["results"]["b.png"]["placement"]["delegate"] = "gpu"
    (folder.output / RECORD).write_text(json.dumps(record))
    assert folder.run() == {
        "rendered": 2,
        "the version of bokeh-tflite changed": 1,
        "the delegate or device changed": 1,
    }


@pytest.mark.slow
def test_another_depth_renders_again(photos: Path, tmp_path: Path, data: Path) -> None:
    (photos / "b.png").unlink()
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("a", "c"):
        shade = np.tile(np.arange(40, dtype=np.uint8)[:, None, None] * 6, (1, 60, 3))
        write_photo(maps / f"{name}.png", Photo(shade, grey=True))
    model = BokehModel.open(data / "small_rgbd.tflite", "cpu")
    made = Folder(photos, tmp_path / "out", model)
    assert made.run(depth=maps) == {"rendered": 2}
    assert made.run(depth=maps) == {"rendered": 0}
    os.utime(maps / "a.png", ns=(1, 1))
    cause = "the depth map or depth model changed"
    assert made.run(depth=maps) == {"rendered": 1, cause: 1}
    for settings in ({}, {"values": "0..1"}, {"far_is_bright": True}):
        network = DepthModel(data / "depth_last.tflite", **settings)
        assert made.run(depth_model=network) == {"rendered": 2, cause: 2}
        assert made.run(depth_model=network) == {"rendered": 0}


@pytest.mark.slow
def test_a_killed_run_is_continued(photos: Path, tmp_path: Path, data: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from bokeh_runtime import render_record\n"
        "add = render_record.RenderRecord.add\n"
        "def second(self, job, provenance):\n"
        "    if job.photo.name == 'b.png':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    add(self, job, provenance)\n"
        "render_record.RenderRecord.add = second\n"
        "from bokeh_runtime.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    model = data / "small_float16.tflite"
    arguments = [photos, "-o", tmp_path / "out", "-d", "cpu", "-m", model]
    killed = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "out" / "b.png").exists()
    report = render(tmp_path, "-m", model)
    assert rendered(report) == ["b.png", "c.webp"]
    assert report["up_to_date"] == 1


def test_an_interrupted_run_knows_a_result_that_it_has_not_recorded(
    photos: Path, tmp_path: Path, data: Path
) -> None:
    output, calls = tmp_path / "out", []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == 2:  # the first call is before the first photo
            raise KeyboardInterrupt

    def request() -> RenderRequest:
        return RenderRequest(
            photos,
            output,
            None,
            RenderOptions(),
            open_model=lambda: BokehModel.open(data / "small_float16.tflite", "cpu", threads=1),
            open_depth_model=None,
        )

    console = Console(file=io.StringIO())
    with pytest.raises(KeyboardInterrupt):
        render_photos(request(), console, interrupt)
    shutil.copy(photos / "c.webp", output / "c.webp")  # as if written just then
    report = render_photos(request(), console, lambda: None)
    assert "c.webp" in rendered(report)
    assert json.loads((output / RECORD).read_text())["begun"] == []


def test_photos_with_the_same_stem_have_separate_comparisons(
    photos: Path, tmp_path: Path, scene: np.ndarray, data: Path
) -> None:
    write_photo(photos / "a.png", Photo(scene))
    model = BokehModel.open(data / "small_float16.tflite", "cpu")
    Folder(photos, tmp_path / "out", model).run(RenderOptions(compare=True))
    compared = [
        read_photo(tmp_path / "out" / f"{name}{COMPARISON_SUFFIX}").pixels.shape
        for name in ("a.jpg", "a.png")
    ]
    assert compared == [(100, 248, 3), (300, 808, 3)]


def test_results_with_the_same_name_are_refused(photos: Path, tmp_path: Path) -> None:
    for name in ("d.heic", "d.heic.jpg"):
        (photos / name).touch()
    if can_write(Path("d.heic")):
        names = [job.output.name for job in jobs_for_folder(photos, tmp_path / "out", None)[0]]
        assert len(set(names)) == 5
    else:
        with pytest.raises(InputError, match=r"d\.heic\.jpg: its result would have the name of d"):
            jobs_for_folder(photos, tmp_path / "out", None)


@pytest.mark.parametrize("case_sensitive", [True, False])
def test_names_that_differ_only_in_case_need_a_case_sensitive_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case_sensitive: bool
) -> None:
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in ("A.jpg", "a.jpg")]
    (tmp_path / "out").mkdir()
    if not case_sensitive:
        monkeypatch.setattr("bokeh_runtime.render_jobs._is_case_sensitive", lambda folder: False)
        with pytest.raises(InputError, match=r"a\.jpg: .* ignores case, .* that of A\.jpg"):
            check_case_collisions(jobs)
    elif (tmp_path / "OUT").exists():
        pytest.skip("no upper and lower case here")
    else:
        check_case_collisions(jobs)
    assert not list((tmp_path / "out").iterdir())
