from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import BokehModel, InputError, TfliteModel, read_metadata
from bokeh_runtime.depth import resized
from bokeh_runtime.model import shipped_model
from bokeh_runtime.resample import Frame, scale


@pytest.fixture
def model(data: Path) -> BokehModel:
    return BokehModel.open(data / "small_float16.tflite", "cpu", threads=1)


def test_the_networks_own_picture_is_the_interpreters(
    model: BokehModel, data: Path, scene: np.ndarray
) -> None:
    rendering = model.render(scene, network_resolution=True)
    frame = Frame.within((300, 400), (64, 96))
    tensor = frame.fill(scale(scene, frame.height, frame.width), (64, 96))
    interpreter = TfliteModel((data / "small_float16.tflite").read_bytes(), threads=1)
    expected = np.clip(frame.cut(interpreter.run(tensor)), 0, 1)
    np.testing.assert_allclose(rendering.pixels / 255, expected, atol=0.51 / 255)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (1, 1), (3, 900), (64, 96), (20, 30)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_any_photo_comes_back_in_its_size_and_type(
    model: BokehModel, shape: tuple[int, int], dtype: type, rng: np.random.Generator
) -> None:
    values = rng.random((*shape, 3))
    photo = (values * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    kept = photo.copy()
    rendering = model.render(photo)
    assert rendering.pixels.shape == photo.shape
    assert rendering.pixels.dtype == photo.dtype
    np.testing.assert_array_equal(photo, kept)
    assert set(rendering.timings) == {"prepare_ms", "infer_ms", "join_ms"}


def test_strength_0_is_the_photo(model: BokehModel, scene: np.ndarray) -> None:
    difference = model.render(scene, strength=0).pixels.astype(int) - scene
    assert np.abs(difference).max() <= 1


def test_the_placement_says_where_it_ran(model: BokehModel) -> None:
    placement = model.placement
    assert (placement.asked, placement.delegate) == ("cpu", "cpu")
    assert 0 < placement.nodes_placed <= placement.nodes_total
    if model.placement.device.endswith("ai-edge-litert, XNNPACK"):
        assert placement.nodes_placed == placement.nodes_total
        assert placement.left == []


def test_several_threads_may_render(model: BokehModel, rng: np.random.Generator) -> None:
    photos = [rng.integers(0, 256, (80, 100, 3)).astype(np.uint8) for _ in range(8)]
    expected = [model.render(photo).pixels for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda photo: model.render(photo).pixels, photos))
    for one, other in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_depth_becomes_the_fourth_channel(data: Path, scene: np.ndarray) -> None:
    model = BokehModel.open(data / "small_rgbd.tflite", "cpu", threads=1)
    assert model.takes_depth
    depth = np.linspace(0, 1, 50 * 70, dtype=np.float32).reshape(50, 70, 1)
    drawn = model.render(scene, depth, network_resolution=True).pixels
    frame = Frame.within((300, 400), (64, 96))
    small = scale(scene, frame.height, frame.width)
    tensor = np.concatenate([small, resized(depth, frame.height, frame.width)], axis=2)
    interpreter = TfliteModel((data / "small_rgbd.tflite").read_bytes(), threads=1)
    expected = np.clip(frame.cut(interpreter.run(frame.fill(tensor, (64, 96)))), 0, 1)
    np.testing.assert_allclose(drawn / 255, expected, atol=0.51 / 255)


def test_depth_is_asked_for_and_not_taken_in_silence(
    data: Path, model: BokehModel, scene: np.ndarray
) -> None:
    with pytest.raises(InputError, match="takes a depth map; give --depth"):
        BokehModel.open(data / "small_rgbd.tflite", "cpu").render(scene)
    with pytest.raises(InputError, match="takes no depth map"):
        model.render(scene, np.zeros((4, 4, 1), np.float32))


def test_a_file_of_another_tool_runs_and_says_what_is_assumed(
    data: Path, scene: np.ndarray
) -> None:
    model = BokehModel.open(data / "tiny_integer.tflite", "cpu", threads=1)
    assert model.metadata is None
    assert any("does not say what it is" in note for note in model.notes)
    assert model.render(scene).pixels.shape == scene.shape


@pytest.mark.parametrize("name", ["depth_last.tflite", "depth_first.tflite"])
def test_what_is_not_image_to_image_is_refused(name: str, data: Path) -> None:
    with pytest.raises(InputError, match="not from one image to one image"):
        BokehModel.open(data / name, "cpu")


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float64),
    ],
)
def test_what_is_no_photo_is_refused(photo: np.ndarray, model: BokehModel) -> None:
    with pytest.raises(InputError, match="a photo is"):
        model.render(photo)


def test_metadata_of_an_unknown_resampling_is_refused(data: Path, tmp_path: Path) -> None:
    content = (data / "small_float16.tflite").read_bytes()
    other = content.replace(b'"resampling": "area"', b'"resampling": "nope"')
    (tmp_path / "other.tflite").write_bytes(other)
    said = r"other\.tflite: .* resampled by 'nope', this version knows area and bicubic"
    with pytest.raises(InputError, match=said):
        read_metadata(tmp_path / "other.tflite")


def test_the_resampling_of_the_metadata_is_used(
    data: Path, tmp_path: Path, scene: np.ndarray
) -> None:
    content = (data / "small_float16.tflite").read_bytes()
    # Of the same length, so that the file's offsets hold.
    other = content.replace(b'"resampling": "area",\n "s', b'"resampling":"bicubic","s')
    assert other != content
    assert len(other) == len(content)
    (tmp_path / "bicubic.tflite").write_bytes(other)
    assert read_metadata(tmp_path / "bicubic.tflite").resampling == "bicubic"
    drawn = BokehModel.open(tmp_path / "bicubic.tflite", "cpu").render(scene).pixels
    usual = BokehModel.open(data / "small_float16.tflite", "cpu").render(scene).pixels
    assert (drawn != usual).any()


@pytest.mark.parametrize("name", ["demo_pynet_float16.tflite", "demo_pynet_int8.tflite"])
def test_the_shipped_models_draw_what_their_pack_says(name: str) -> None:
    from bokeh_runtime.psnr import psnr
    from bokeh_runtime.reference import reference_beside

    metadata = read_metadata(shipped_model(name))
    pack = reference_beside(shipped_model(name), metadata)
    assert pack is not None
    model = TfliteModel(shipped_model(name).read_bytes())
    drawn = np.clip(model.run(pack.inputs[0] / np.float32(255)), 0, 1)
    measured = metadata.fidelity["psnr_db_worst"]
    assert psnr(drawn, pack.outputs[0], border_px=0) > measured - 0.5


def test_a_model_without_its_pack_is_fine(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "small_float16.tflite", tmp_path / "renamed.tflite")
    BokehModel.open(tmp_path / "renamed.tflite", "cpu").close()
