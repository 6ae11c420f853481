from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import BokehModel, InputError, TfliteModel, read_metadata
from bokeh_runtime.imaging.depth import resize_depth
from bokeh_runtime.imaging.resample import Frame, scale
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model
from helpers.fake_litert import FakeLitert, Outcome, adapter


@pytest.fixture
def model(data: Path) -> BokehModel:
    return BokehModel.open(data / "small_float16.tflite", "cpu", threads=1)


def test_network_resolution_returns_the_interpreters_output(
    model: BokehModel, data: Path, scene: np.ndarray
) -> None:
    rendering = model.render(scene, network_resolution=True)
    frame = Frame.within((300, 400), (64, 96))
    tensor = frame.pad(scale(scene, frame.height, frame.width), (64, 96))
    interpreter = TfliteModel((data / "small_float16.tflite").read_bytes(), threads=1)
    expected = np.clip(frame.crop(interpreter.run(tensor)), 0, 1)
    np.testing.assert_allclose(rendering.pixels / 255, expected, atol=0.51 / 255)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (1, 1), (3, 900), (64, 96), (20, 30)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_result_has_the_size_and_dtype_of_the_photo(
    model: BokehModel, shape: tuple[int, int], dtype: type, rng: np.random.Generator
) -> None:
    values = rng.random((*shape, 3))
    photo = (values * (1 if dtype == np.float32 else np.iinfo(dtype).max)).astype(dtype)
    kept = photo.copy()
    rendering = model.render(photo)
    assert rendering.pixels.shape == photo.shape
    assert rendering.pixels.dtype == photo.dtype
    np.testing.assert_array_equal(photo, kept)
    assert set(rendering.timings) == {"prepare_ms", "infer_ms", "fuse_ms"}


def test_strength_0_is_the_photo(model: BokehModel, scene: np.ndarray) -> None:
    difference = model.render(scene, strength=0).pixels.astype(int) - scene
    assert np.abs(difference).max() <= 1


def test_the_placement_says_where_it_ran(model: BokehModel) -> None:
    placement = model.placement
    assert (placement.requested, placement.delegate) == ("cpu", "cpu")
    assert 0 < placement.delegated_ops <= placement.total_ops
    if model.placement.device.endswith("ai-edge-litert, XNNPACK"):
        assert placement.delegated_ops == placement.total_ops
        assert placement.unsupported_ops == []


def test_several_threads_may_render(model: BokehModel, rng: np.random.Generator) -> None:
    photos = [rng.integers(0, 256, (80, 100, 3)).astype(np.uint8) for _ in range(8)]
    expected = [model.render(photo).pixels for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        output = list(pool.map(lambda photo: model.render(photo).pixels, photos))
    for one, other in zip(output, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_depth_becomes_the_fourth_channel(data: Path, scene: np.ndarray) -> None:
    model = BokehModel.open(data / "small_rgbd.tflite", "cpu", threads=1)
    assert model.takes_depth
    depth = np.linspace(0, 1, 50 * 70, dtype=np.float32).reshape(50, 70, 1)
    output = model.render(scene, depth, network_resolution=True).pixels
    frame = Frame.within((300, 400), (64, 96))
    small = scale(scene, frame.height, frame.width)
    tensor = np.concatenate([small, resize_depth(depth, frame.height, frame.width)], axis=2)
    interpreter = TfliteModel((data / "small_rgbd.tflite").read_bytes(), threads=1)
    expected = np.clip(frame.crop(interpreter.run(frame.pad(tensor, (64, 96)))), 0, 1)
    np.testing.assert_allclose(output / 255, expected, atol=0.51 / 255)


def test_a_missing_or_unneeded_depth_map_is_refused(
    data: Path, model: BokehModel, scene: np.ndarray
) -> None:
    with pytest.raises(InputError, match="needs a depth map; give depth"):
        BokehModel.open(data / "small_rgbd.tflite", "cpu").render(scene)
    with pytest.raises(InputError, match="takes no depth map"):
        model.render(scene, np.zeros((4, 4, 1), np.float32))


def test_a_file_of_another_tool_runs_with_a_note(data: Path, scene: np.ndarray) -> None:
    model = BokehModel.open(data / "tiny_integer.tflite", "cpu", threads=1)
    assert model.metadata is None
    assert any("has no metadata" in note for note in model.notes)
    assert model.render(scene).pixels.shape == scene.shape


@pytest.mark.parametrize("name", ["depth_last.tflite", "depth_first.tflite"])
def test_a_model_that_is_not_image_to_image_is_refused(name: str, data: Path) -> None:
    with pytest.raises(InputError, match="does not map one image to one image"):
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
def test_an_invalid_photo_is_refused(photo: np.ndarray, model: BokehModel) -> None:
    with pytest.raises(InputError, match="a photo must be"):
        model.render(photo)


def test_metadata_of_an_unknown_resampling_is_refused(data: Path, tmp_path: Path) -> None:
    content = (data / "small_float16.tflite").read_bytes()
    other = content.replace(b'"resampling": "area"', b'"resampling": "nope"')
    (tmp_path / "other.tflite").write_bytes(other)
    message = r"other\.tflite: .*'nope' is not supported by this version \(area and bicubic are\)"
    with pytest.raises(InputError, match=message):
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
    output = BokehModel.open(tmp_path / "bicubic.tflite", "cpu").render(scene).pixels
    usual = BokehModel.open(data / "small_float16.tflite", "cpu").render(scene).pixels
    assert (output != usual).any()


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_the_shipped_models_match_their_reference_pack(name: str) -> None:
    from bokeh_runtime.metrics.psnr import psnr
    from bokeh_runtime.tflite.reference_pack import find_reference

    metadata = read_metadata(shipped_model(name))
    pack = find_reference(shipped_model(name), metadata)
    assert pack is not None
    model = TfliteModel(shipped_model(name).read_bytes())
    output = np.clip(model.run(pack.inputs[0] / np.float32(255)), 0, 1)
    measured = metadata.fidelity["psnr_db_worst"]
    assert psnr(output, pack.outputs[0], border_px=0) > measured - 0.5


def test_a_model_works_without_its_reference_pack(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "small_float16.tflite", tmp_path / "renamed.tflite")
    BokehModel.open(tmp_path / "renamed.tflite", "cpu").close()


def left_half(output: np.ndarray) -> np.ndarray:
    return output[:, : output.shape[1] // 2]


def margin(output: np.ndarray) -> np.ndarray:
    """What a photo of 300 x 400 does not fill of 64 x 96: it is cut away from the picture."""
    return output[:, :2]


def one_value(output: np.ndarray) -> np.ndarray:
    return output[5:6, 5:6, :1]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", [left_half, margin, one_value])
@pytest.mark.parametrize("network_resolution", [True, False])
def test_an_output_that_is_not_finite_is_refused(
    value: float,
    where: Callable[[np.ndarray], np.ndarray],
    network_resolution: bool,
    model: BokehModel,
    scene: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = model.engine.model.run

    def broken(tensor: np.ndarray) -> np.ndarray:
        output = run(tensor).copy()
        where(output)[:] = value
        return output

    monkeypatch.setattr(model.engine.model, "run", broken)
    with pytest.raises(InputError, match="outputs NaN or infinity; convert it again"):
        model.render(scene, network_resolution=network_resolution)


def test_a_photo_or_a_depth_map_that_is_not_finite_is_refused(
    data: Path, model: BokehModel, scene: np.ndarray
) -> None:
    photo = (scene / 255).astype(np.float32)
    photo[7, 7, 1] = np.inf
    with pytest.raises(InputError, match="the photo contains NaN or infinity"):
        model.render(photo)
    depth = np.full((9, 9, 1), np.nan, np.float32)
    with (
        BokehModel.open(data / "small_rgbd.tflite", "cpu", threads=1) as takes_depth,
        pytest.raises(InputError, match="the depth map contains NaN or infinity"),
    ):
        takes_depth.render(scene, depth)


def test_a_closed_model_raises_an_error_and_may_be_closed_again(
    model: BokehModel, scene: np.ndarray
) -> None:
    model.close()
    model.close()
    with pytest.raises(InputError, match=r"small_float16\.tflite: is closed; open it again"):
        model.render(scene)


def test_a_model_whose_metadata_contradicts_its_graph_leaves_nothing_open(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litert = FakeLitert().install(monkeypatch)
    litert.on = lambda *_: Outcome(adapter())
    litert.draw = lambda tensor, _: tensor * np.float32(0.9)
    content = (data / "small_float16.tflite").read_bytes()
    # Of the same length, so that the file's offsets hold.
    other = content.replace(b'"input_height": 64', b'"input_height": 32')
    assert other != content
    (tmp_path / "other.tflite").write_bytes(other)
    with pytest.raises(InputError, match="contradict each other"):
        BokehModel.open(tmp_path / "other.tflite", "gpu")
    assert litert.closed == litert.opened
