"""Where the depth maps of a rendering come from, and folders of photos in subfolders."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bokeh_runtime import BokehModel, InputError, Photo, read_photo, write_photo
from bokeh_runtime.imaging.folder_walk import RENDER_RECORD
from bokeh_runtime.render import RenderOptions, render_file
from bokeh_runtime.render_depth import find_depth_maps
from bokeh_runtime.render_jobs import Job, find_jobs
from bokeh_runtime.render_record import result_provenance
from helpers import commands, phone_photos

RAMP = np.tile(np.arange(100, dtype=np.uint8) * 2, (75, 1))


@pytest.fixture
def rgbd(data: Path) -> BokehModel:
    return BokehModel.open(data / "small_rgbd.tflite", "cpu", threads=1)


@pytest.fixture
def photo(tmp_path: Path, scene: np.ndarray) -> Path:
    write_photo(tmp_path / "photo.jpg", Photo(scene))
    return tmp_path / "photo.jpg"


@pytest.fixture
def ebb(tmp_path: Path, scene: np.ndarray) -> Path:
    """A data set in the layout of EBB! with two photos, of which the second has no depth map."""
    for part in ("original", "original_depth", "bokeh"):
        (tmp_path / "ebb" / "train" / part).mkdir(parents=True)
    for name in ("1", "2"):
        for part in ("original", "bokeh"):
            write_photo(tmp_path / "ebb" / "train" / part / f"{name}.jpg", Photo(scene))
    cv2.imwrite(str(tmp_path / "ebb/train/original_depth/1.png"), RAMP)
    return tmp_path / "ebb"


def test_a_depth_map_is_not_replaced_by_the_result(
    tmp_path: Path, photo: Path, rgbd: BokehModel
) -> None:
    depth = tmp_path / "photo.png"
    cv2.imwrite(str(depth), RAMP)
    with pytest.raises(InputError, match=r"photo\.png: is the photo's depth map; choose another"):
        find_jobs(photo, depth, depth)
    jobs, _ = find_jobs(photo, depth, None)
    with pytest.raises(InputError, match=r"photo\.png: is the photo's depth map"):
        find_depth_maps(jobs, rgbd)
    (tmp_path / "maps").mkdir()
    (tmp_path / "photos").mkdir()
    photo.rename(tmp_path / "photos" / "photo.jpg")
    with pytest.raises(InputError, match=r"maps: is the folder of the depth maps"):
        find_jobs(tmp_path / "photos", tmp_path / "maps", tmp_path / "maps")


def test_photos_in_the_output_folder_are_mentioned(tmp_path: Path, photo: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    assert find_jobs(tmp_path, output, None)[1] == []
    photo.with_name("other.jpg").write_bytes(photo.read_bytes())
    (output / "third.jpg").write_bytes(photo.read_bytes())
    jobs, notes = find_jobs(tmp_path, output, None)
    assert len(jobs) == 2
    assert notes == [f"{output}: 1 photo in it not rendered, as the results go there"]
    (output / RENDER_RECORD).write_text("{}")
    assert find_jobs(tmp_path, output, None)[1] == []


@pytest.mark.slow
def test_subfolders_are_rendered_into_the_same_subfolders(
    tmp_path: Path, data: Path, scene: np.ndarray
) -> None:
    photos = tmp_path / "photos"
    names = ["IMG_1.jpg", "Camera/IMG_1.jpg", "Camera/IMG_1(1).jpg", "trip/day 1/IMG_1.jpg"]
    for i, name in enumerate(names):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        write_photo(photos / name, Photo(scene[10 * i :]))
    (photos / "Camera" / "IMG_1.MP4").touch()
    arguments = ("photos", "-m", data / "small_float16.tflite", "-dcpu", "--json", "-o")
    done = commands.command("bokeh-render", *arguments, "photos/out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: photos: skipped 1 video" in done.stderr
    for i, name in enumerate(names):
        assert read_photo(photos / "out" / name).pixels.shape[0] == scene.shape[0] - 10 * i
    assert [path.parent for path in photos.rglob(RENDER_RECORD)] == [photos / "out"]
    # The results are not photos of the next run, whatever its output is.
    again = commands.command("bokeh-render", *arguments, "photos/out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)
    assert (report["up_to_date"], report["photos"]) == (4, [])
    jobs, notes = find_jobs(photos, tmp_path / "other", None)
    assert sorted(job.photo.relative_to(photos).as_posix() for job in jobs) == sorted(names)
    assert notes == [f"{photos}: skipped 1 results folder, 1 video"]


def test_depth_maps_of_ebbs_layout_are_found(ebb: Path, tmp_path: Path, rgbd: BokehModel) -> None:
    jobs, _ = find_jobs(ebb, tmp_path / "out", None)
    assert [job.photo.relative_to(ebb).as_posix() for job in jobs] == [
        "train/original/1.jpg",
        "train/original/2.jpg",
    ]
    found, notes = find_depth_maps(jobs, rgbd)
    depth = ebb / "train" / "original_depth" / "1.png"
    assert [job.depth for job in found] == [depth, None]
    assert notes == [f"depth from {depth}, found by name; 1 of 2 photos have none"]
    assert render_file(rgbd, found[0], RenderOptions()).output.is_file()
    with pytest.raises(InputError, match="needs a depth map"):
        render_file(rgbd, found[1], RenderOptions())
    # The same with the data set as the folder of depth maps.
    given, _ = find_jobs(ebb, tmp_path / "out", ebb)
    assert given[0].depth == depth


def test_a_folder_of_depth_maps_among_the_photos_is_not_rendered(photo: Path) -> None:
    photos = photo.parent
    (photos / "z").mkdir()
    cv2.imwrite(str(photos / "z" / "photo.png"), RAMP)
    for depth, count in ((photos / "z", 1), (photos, 2), (None, 2)):
        jobs, _ = find_jobs(photos, photos / "out", depth)
        assert len(jobs) == count
        assert jobs[0].photo == photo
    assert find_jobs(photos, photos / "out", photos / "z")[0][0].depth == photos / "z/photo.png"


def test_far_is_bright_holds_for_files(photo: Path, rgbd: BokehModel) -> None:
    for name, values in (("near.png", RAMP), ("far.png", 255 - RAMP)):
        cv2.imwrite(str(photo.with_name(name)), values)
    results, depths = [], []
    for name, far_is_bright in (("near.png", False), ("far.png", True), ("far.png", False)):
        job = Job(photo, photo.with_name("out.png"), photo.with_name(name))
        options = RenderOptions(far_is_bright=far_is_bright)
        render_file(rgbd, job, options)
        results.append(read_photo(job.output).pixels.astype(int))
        depths.append(result_provenance(job, rgbd, options, None)["depth"])
    assert np.abs(results[1] - results[0]).max() <= 1
    assert np.abs(results[2] - results[0]).max() > 5
    assert depths[1] != depths[2]  # so a folder is rendered again with the option


@pytest.mark.parametrize("far_is_bright", [False, True])
def test_a_map_of_millimetres_is_noted(far_is_bright: bool, photo: Path, rgbd: BokehModel) -> None:
    millimetres = (500 + 10 * RAMP.astype(np.uint16)).astype(np.uint16)
    cv2.imwrite(str(photo.with_name("mm.png")), millimetres)
    job = Job(photo, photo.with_name("out.jpg"), photo.with_name("mm.png"))
    (note,) = render_file(rgbd, job, RenderOptions(far_is_bright=far_is_bright)).notes
    assert note.startswith("depth map: uses 4 % of its range: probably millimetres")
    assert ("near is dark; give --far-is-bright" in note) != far_is_bright


def test_a_map_that_lies_the_other_way_is_refused(photo: Path, rgbd: BokehModel) -> None:
    cv2.imwrite(str(photo.with_name("map.png")), RAMP.T)
    job = Job(photo, photo.with_name("out.jpg"), photo.with_name("map.png"))
    with pytest.raises(InputError, match=r"map\.png: the depth map is 75 x 100, but the upright"):
        render_file(rgbd, job, RenderOptions())


@pytest.mark.slow
def test_the_command_takes_the_embedded_map(photo: Path, data: Path) -> None:
    photo.write_bytes(
        phone_photos.gdepth(photo.read_bytes(), phone_photos.encoded(255 - RAMP, "PNG"))
    )
    arguments = ("photo.jpg", "-m", data / "small_rgbd.tflite", "-dcpu", "-o", "out.jpg")
    done = commands.command("bokeh-render", *arguments, cwd=photo.parent)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "photo.jpg has one embedded (GDepth); give --depth embedded" in done.stderr
    done = commands.command("bokeh-render", *arguments, "--depth", "embedded", cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert photo.with_name("out.jpg").is_file()
