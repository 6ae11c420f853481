from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from bokeh_runtime import BokehModel, Photo, read_photo, write_photo
from bokeh_runtime.imaging.photo import read_photo as real_read_photo
from bokeh_runtime.render import RenderedFile, RenderOptions, render_file, render_files
from bokeh_runtime.render_jobs import Job, comparison_path, jobs_for_folder
from bokeh_runtime.render_record import RECORD
from helpers import commands
from helpers.skips import ELSEWHERE


def command(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return commands.command("bokeh-render", *arguments, cwd=cwd, **environment)


def cv2_error(code: int, text: str) -> cv2.error:
    error = cv2.error(text)
    error.code = code
    return error


@pytest.fixture
def small(data: Path) -> Path:
    return data / "small_float16.tflite"


@pytest.fixture
def photo(tmp_path: Path, scene: np.ndarray) -> Path:
    write_photo(tmp_path / "photo.jpg", Photo(scene))
    return tmp_path / "photo.jpg"


@pytest.mark.slow
def test_the_first_command_works(photo: Path) -> None:
    done = command("photo.jpg", cwd=photo.parent, VK_ICD_FILENAMES="/none")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert read_photo(photo.with_name("photo.bokeh.jpg")).pixels.shape == (300, 400, 3)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert lines[0].startswith("photo.bokeh.jpg: 400 x 300; decode ")
    assert lines[1].startswith("ran on cpu (")
    assert all(line.startswith("run on the CPU: ") for line in lines[2:]), done.stderr


def test_only_json_is_printed_on_stdout(photo: Path, small: Path) -> None:
    done = command("photo.jpg", "-m", small, "-o", "out.png", "--json", cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["placement"]["delegate"] == "cpu"
    assert report["placement"]["delegated_ops"] > 0
    (entry,) = report["photos"]
    assert (entry["height"], entry["width"]) == (300, 400)
    assert set(entry["timings"]) == {
        "decode_ms", "prepare_ms", "infer_ms", "fuse_ms", "encode_ms"
    }  # fmt: skip
    assert report["failures"] == []


@pytest.mark.slow
def test_compare_strength_and_network_resolution(photo: Path, small: Path) -> None:
    arguments = ("photo.jpg", "-m", small, "-d", "cpu", "-o")
    done = command(*arguments, "small.png", "--network-resolution", cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert read_photo(photo.with_name("small.png")).pixels.shape == (64, 85, 3)
    done = command(*arguments, "none.png", "--strength", "0", "--compare", cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    before, after = read_photo(photo), read_photo(photo.with_name("none.png"))
    assert np.abs(after.pixels.astype(int) - before.pixels).max() <= 1
    compared = read_photo(photo.with_name("none.png.compare.jpg")).pixels.astype(int)
    assert compared.shape == (300, 808, 3)
    assert np.abs(compared[:, :400] - compared[:, 408:]).mean() < 2


@pytest.mark.parametrize("network_resolution", [False, True])
def test_transparency_is_kept_and_white_in_the_comparison(
    small: Path, tmp_path: Path, scene: np.ndarray, network_resolution: bool
) -> None:
    alpha = np.full(scene.shape[:2], 255, np.uint8)
    alpha[:, : scene.shape[1] // 2] = 0
    hidden = np.where(alpha[..., np.newaxis] > 0, scene, 0)
    write_photo(tmp_path / "cut.png", Photo(hidden, alpha))
    job = Job(tmp_path / "cut.png", tmp_path / "out.png")
    options = RenderOptions(network_resolution=network_resolution, compare=True)
    with BokehModel.open(small, "cpu", threads=1) as model:
        render_file(model, job, options, None)
    result = read_photo(job.output)
    assert result.alpha is not None
    quarter = result.alpha.shape[1] // 4
    assert (result.alpha[:, :quarter].max(), result.alpha[:, -quarter:].min()) == (0, 255)
    sides = read_photo(comparison_path(job)).pixels
    gap = sides.shape[1] // 2
    for side in (sides[:, : gap - 4], sides[:, gap + 4 :]):
        assert side[:, : side.shape[1] // 4].min() > 245
        assert side[:, -side.shape[1] // 4 :].min() < 200


def test_delegates_are_listed(tmp_path: Path) -> None:
    done = command("--list-delegates", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stderr.splitlines() if line[:1].strip()]
    assert [row[0] for row in rows] == ["delegate", "cpu", "gpu", "nnapi", "npu"]
    assert rows[1][1] == "yes"


def test_missing_hardware_is_exit_code_3(photo: Path, small: Path) -> None:
    done = command("photo.jpg", "-m", small, "-d", "nnapi", cwd=photo.parent)
    assert done.returncode == 3
    assert (
        done.stderr
        == "bokeh-render: nnapi: only available on Android; use --delegate cpu or --delegate gpu\n"
    )
    assert not photo.with_name("photo.bokeh.jpg").exists()


@pytest.mark.slow
def test_depth_comes_from_a_file_or_a_network(photo: Path, data: Path) -> None:
    Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))).save(
        photo.with_name("depth.png")
    )
    arguments = ("photo.jpg", "-m", data / "small_rgbd.tflite", "-d", "cpu", "-o")
    for name, given in (
        ("a.png", ("--depth", "depth.png")),
        ("b.png", ("--depth-model", data / "depth_last.tflite")),
    ):
        done = command(*arguments, name, *given, cwd=photo.parent)
        assert done.returncode == 0, done.stderr
    pictures = [read_photo(photo.with_name(name)).pixels for name in ("a.png", "b.png")]
    assert (pictures[0] != pictures[1]).any()
    done = command(*arguments, "c.png", cwd=photo.parent)
    assert done.returncode == 2
    assert "needs a depth map; give --depth or --depth-model" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no photo given; give a photo or a folder of photos"),
        (("missing.jpg",), "missing.jpg: no such photo or folder"),
        (("photo.jpg", "-o", "photo.jpg"), "photo.jpg: is the photo itself"),
        (("cut.png.compare.jpg", "-o", "cut.png"), "cut.png.compare.jpg: is the photo itself"),
        (("photo.jpg", "-o", "no/out.jpg"), "no/out.jpg: folder no does not exist"),
        (("photo.jpg", "-o", "out.xyz"), "out.xyz: its suffix is no image format"),
        (("photo.jpg", "-m", "photo.jpg"), "photo.jpg: not a .tflite file"),
        (("photo.jpg", "-m", "cut.tflite"), "cut.tflite: damaged .tflite file"),
        (("cut.jpg",), "cut.jpg: damaged or truncated"),
        (("a" * 300 + ".jpg",), "File name too long; check the path"),
        (("photo.jpg", "-o", "a" * 300 + ".jpg"), "File name too long; check the path"),
        (("pipe",), "pipe: is neither a file nor a folder; give a photo"),
        (("folder",), "folder: is a folder; give the folder for the results with --output"),
        (
            ("folder", "-o", "folder"),
            "folder: is the folder of the photos; choose another --output",
        ),
        (("folder", "-o", "photo.jpg"), "photo.jpg: is not a folder; choose another --output"),
        (("folder", "-o", "out"), "folder: has no photos"),
        (("photo.jpg", "--depth", "photo.jpg"), "takes no depth map"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, photo: Path, small: Path
) -> None:
    folder = photo.parent
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "cut.tflite").write_bytes(small.read_bytes()[:9000])
    (folder / "cut.jpg").write_bytes(photo.read_bytes()[:9000])
    (folder / "cut.png.compare.jpg").write_bytes(photo.read_bytes())
    kept = photo.read_bytes()
    model = () if "-m" in arguments else ("-m", small)
    done = command(*arguments, *model, "-d", "cpu", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("bokeh-render: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert photo.read_bytes() == kept
    names = {"photo.jpg", "cut.jpg", "cut.png.compare.jpg", "cut.tflite", "folder", "pipe"}
    assert {path.name for path in folder.iterdir()} - {"cache"} == names


def test_a_report_that_cannot_be_printed_is_one_line_and_exit_code_2(photo: Path) -> None:
    program = Path(sys.executable).parent / "bokeh-render"
    with Path("/dev/full").open("w") as stdout:
        done = subprocess.run(
            [program, photo, "-d", "cpu", "--json", "-o", photo.parent / "out.jpg"],
            stdout=stdout, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.endswith("stdout: cannot be written (No space left on device); "
                                "free space, or print elsewhere\n")  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_folder_continues_after_a_bad_photo_and_skips_results_that_are_up_to_date(
    tmp_path: Path, small: Path, scene: np.ndarray
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.png", "d.webp"):
        write_photo(photos / name, Photo(scene))
    (photos / "c.jpg").write_bytes(b"no photo")
    (photos / "notes.txt").write_text("not a photo")
    arguments = (photos, "-o", "out", "-m", small, "-d", "cpu")
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "3 rendered, 1 failed" in done.stderr
    assert f"failed: {photos / 'c.jpg'}: is not an image of a supported format" in done.stderr
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert set(made) == {"a.jpg", "b.png", "d.webp", RECORD}
    (photos / "c.jpg").unlink()
    os.utime(photos / "b.png")  # changed since
    done = command(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 rendered, 2 up to date, 0 failed" in done.stderr
    assert [Path(p["photo"]).name for p in json.loads(done.stdout)["photos"]] == ["b.png"]
    done = command(*arguments, "--overwrite", cwd=tmp_path)
    assert "3 rendered, 0 failed" in done.stderr


def test_depth_maps_and_masks_of_a_folder_are_not_rendered(
    tmp_path: Path, small: Path, scene: np.ndarray
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b_sharp.jpg"):
        write_photo(photos / name, Photo(scene))
    for name in ("a.png", "b_depth.png", "b_mask.png"):
        write_photo(photos / name, Photo(scene, grey=True))
    done = command(photos, "-o", "out", "-m", small, "-d", "cpu", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {"a.jpg", "b_sharp.jpg"}
    note = f"{photos}: skipped 3 grey pictures"
    assert note in done.stderr
    assert note in json.loads(done.stdout)["notes"][0]


def test_a_photo_is_not_its_own_depth_map(tmp_path: Path, scene: np.ndarray) -> None:
    write_photo(tmp_path / "a.jpg", Photo(scene))
    ((job,), _) = jobs_for_folder(tmp_path, tmp_path / "out", tmp_path)
    assert job.depth == tmp_path / "a.png"  # missing, which is reported when it is rendered
    write_photo(tmp_path / "a.tif", Photo(scene, grey=True))
    ((job,), _) = jobs_for_folder(tmp_path, tmp_path / "out", tmp_path)
    assert job.depth == tmp_path / "a.tif"


def test_the_comparison_of_a_grey_photo_has_its_profile(
    tmp_path: Path, small: Path, scene: np.ndarray
) -> None:
    # Of an ICC profile, these bytes name the colour space (ICC.1:2022, table 17).
    profile = bytes(16) + b"GRAY" + bytes(108)
    grey = Image.fromarray(scene).convert("L")
    grey.save(tmp_path / "grey.png", icc_profile=profile)
    model = BokehModel.open(small, "cpu")
    job = Job(tmp_path / "grey.png", tmp_path / "out.jpg")
    render_file(model, job, RenderOptions(compare=True))
    for name in ("out.jpg", "out.jpg.compare.jpg"):
        with Image.open(tmp_path / name) as written:
            assert (written.mode, written.info["icc_profile"]) == ("L", profile)


@pytest.mark.parametrize(
    "fault", [MemoryError(), cv2_error(cv2.Error.StsNoMem, "Insufficient memory")]
)
def test_a_photo_that_needs_too_much_memory_does_not_stop_a_folder(
    fault: Exception,
    tmp_path: Path,
    small: Path,
    scene: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = []
    for name in ("large.png", "small.png"):
        write_photo(tmp_path / name, Photo(scene))
        jobs.append(Job(tmp_path / name, tmp_path / f"out_{name}"))
    model = BokehModel.open(small, "cpu")
    faults = [fault]
    render = model.render

    def short_of_memory(*given: Any, **options: Any) -> Any:
        if faults:
            raise faults.pop()
        return render(*given, **options)

    monkeypatch.setattr(model, "render", short_of_memory)
    first, second = render_files(model, jobs, RenderOptions())
    assert str(first) == f"{tmp_path}/large.png: not enough memory; scale it down first"
    assert isinstance(second, RenderedFile)


def test_a_depth_map_that_needs_too_much_memory_does_not_stop_a_folder(
    tmp_path: Path, small: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_given: Any, **_options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("bokeh_runtime.render.read_depth_of_photo", too_large)
    write_photo(tmp_path / "a.png", Photo(scene))
    jobs = [Job(tmp_path / "a.png", tmp_path / f"{n}.png", tmp_path / "depth.png") for n in "xy"]
    found = list(render_files(BokehModel.open(small, "cpu"), jobs, RenderOptions()))
    line = f"{tmp_path}/a.png: not enough memory; scale it down first"
    assert [str(one) for one in found] == [line, line]


def test_what_a_16_bit_tiff_loses_of_the_exif_is_noted(
    tmp_path: Path, small: Path, scene: np.ndarray
) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLength] = 4.25
    exif[ExifTags.Base.Make] = "Maker"
    eight_bits = Photo(scene, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    write_photo(tmp_path / "deep.png", replace(eight_bits, pixels=scene.astype(np.uint16) * 257))
    model = BokehModel.open(small, "cpu")
    notes = {
        name: render_file(model, Job(tmp_path / "deep.png", tmp_path / name), RenderOptions()).notes
        for name in ("out.tif", "out.png")
    }
    assert any("a 16-bit TIFF keeps camera" in note for note in notes["out.tif"])
    assert not any("EXIF" in note for note in notes["out.png"])


def test_only_one_photo_is_decoded_ahead(
    tmp_path: Path, small: Path, scene: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    for i in range(6):
        write_photo(tmp_path / f"{i}.png", Photo(scene))
        jobs.append(Job(tmp_path / f"{i}.png", tmp_path / f"out{i}.png"))
    read: list[tuple[str, bool]] = []

    def spy(path: Path) -> Photo:
        read.append((path.name, threading.current_thread() is threading.main_thread()))
        return real_read_photo(path)

    monkeypatch.setattr("bokeh_runtime.render.read_photo", spy)
    model = BokehModel.open(small, "cpu")
    for done, _ in enumerate(render_files(model, jobs, RenderOptions()), start=1):
        assert len(read) <= done + 1
    assert [name for name, _ in read] == [f"{i}.png" for i in range(6)]
    assert not any(in_main for _, in_main in read)


def test_heic_without_its_decoder_says_what_to_install(tmp_path: Path, small: Path) -> None:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
        done = command("photo.heic", "-m", small, cwd=tmp_path)
        assert done.returncode == 2
        assert "pip install 'bokeh-tflite[heic]'" in done.stderr
    else:
        pytest.skip(f"{ELSEWHERE}the decoder is installed")
