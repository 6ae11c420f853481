from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bokeh_runtime import InputError
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.imaging.depth import normalize_depth, open_depth, resize_depth


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_divided_by_their_maximum(dtype: type, top: int, tmp_path: Path) -> None:
    stored = np.array([[0, top // 5], [top // 3, top]], dtype)
    cv2.imwrite(str(tmp_path / "depth.png"), stored)
    depth = open_depth(tmp_path / "depth.png")
    assert depth.shape == (2, 2, 1)
    np.testing.assert_allclose(depth[..., 0], stored / top, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pfm_is_read_from_bottom_to_top_and_normalized(order: str, tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]], f"{order}f4")
    scale = -1.0 if order == "<" else 1.0
    header = f"Pf\n3 2\n{scale}\n".encode()
    (tmp_path / "depth.pfm").write_bytes(header + values[::-1].tobytes())
    depth = open_depth(tmp_path / "depth.pfm")
    np.testing.assert_allclose(depth[..., 0], (values - 1) / 8, atol=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        b"PF\n1 1\n-1.0\n" + bytes(12),
        b"Pf\n2 2\n-1.0\n" + bytes(15),
        b"Pf\n0 2\n-1.0\n",
        b"nothing",
    ],
)
def test_an_invalid_pfm_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "depth.pfm").write_bytes(content)
    with pytest.raises(InputError, match=r"depth.pfm: "):
        open_depth(tmp_path / "depth.pfm")


def test_a_colour_image_is_refused_as_a_depth_map(tmp_path: Path, scene: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "depth.png"), scene)
    with pytest.raises(InputError, match="one channel"):
        open_depth(tmp_path / "depth.png")


def test_a_flat_or_infinite_map_causes_no_division_by_zero() -> None:
    assert not normalize_depth(np.full((2, 2, 1), 7, np.float32)).any()
    assert not normalize_depth(np.full((2, 2, 1), np.nan, np.float32)).any()
    far = np.array([[[1.0], [np.inf], [3.0]]], np.float32)
    np.testing.assert_allclose(normalize_depth(far)[0, :, 0], [0, 0, 1])


def test_a_depth_map_is_resized() -> None:
    ramp = np.linspace(0, 1, 80, dtype=np.float32)[None, :, None].repeat(60, axis=0)
    for size in ((30, 40), (120, 160), (1, 1)):
        scaled = resize_depth(ramp, *size)
        assert scaled.shape == (*size, 1)
        assert scaled.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("layout", ["depth_last", "depth_first"])
def test_a_depth_network_computes_the_depth_map(layout: str, data: Path) -> None:
    photo = np.zeros((100, 160, 3), np.uint8)
    photo[:, 80:, 0] = 255  # for these networks red is near
    depth = DepthModel(data / f"{layout}.tflite", threads=1).run(photo)
    assert depth.shape == (32, 48, 1)
    np.testing.assert_allclose(depth[:, :23], 0, atol=1e-6)
    np.testing.assert_allclose(depth[:, 25:], 1, atol=1e-6)
    turned = DepthModel(data / f"{layout}.tflite", threads=1, far_is_bright=True).run(photo)
    np.testing.assert_allclose(turned, 1 - depth, atol=1e-6)


def test_a_depth_network_gets_its_input_range(data: Path) -> None:
    photo = np.full((32, 48, 3), 102, np.uint8)
    expected = {"0..1": 0.4, "-1..1": -0.2, "0..255": 102, "imagenet": (0.4 - 0.485) / 0.229}
    for values, red in expected.items():
        model = DepthModel(data / "depth_last.tflite", values=values, threads=1)
        inputs = []
        run = model._model.run
        model._model.run = lambda image, run=run, inputs=inputs: inputs.append(image) or run(image)  # type: ignore[method-assign]
        model.run(photo)
        np.testing.assert_allclose(inputs[0][..., 0], red, rtol=1e-4)


def test_a_bokeh_network_is_refused_as_a_depth_network(data: Path) -> None:
    with pytest.raises(InputError, match="does not map one image to one depth map"):
        DepthModel(data / "small_float16.tflite")


@pytest.mark.parametrize("far_is_bright", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_depth_that_is_not_finite_is_far(
    far_is_bright: bool, value: float, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DepthModel(data / "depth_last.tflite", threads=1, far_is_bright=far_is_bright)
    output = np.full((32, 48, 1), 2, np.float32)
    output[:8], output[8:16], output[16:24] = 1, 3, value
    monkeypatch.setattr(model._model, "run", lambda image: output)
    depth = model.run(np.zeros((32, 48, 3), np.uint8))
    assert not depth[16:24].any()
    assert (depth[0, 0, 0], depth[8, 0, 0]) == ((1, 0) if far_is_bright else (0, 1))
    np.testing.assert_allclose(depth[24:], 0.5)


def test_unknown_values_of_a_pfm_are_far(tmp_path: Path) -> None:
    top = np.finfo(np.float32).max
    for unknown, expected in ((np.nan, 0), (np.inf, 0), (-top, 0)):
        values = np.array([[1.0, 5.0], [unknown, 9.0]], "<f4")
        (tmp_path / "depth.pfm").write_bytes(b"Pf\n2 2\n-1.0\n" + values[::-1].tobytes())
        depth = open_depth(tmp_path / "depth.pfm")[..., 0]
        assert depth[1, 0] == expected
        assert (depth[1, 1], np.isfinite(depth).all()) == (1, True)
    (tmp_path / "depth.pfm").write_bytes(
        b"Pf\n2 1\n-1.0\n" + np.array([-top, top], "<f4").tobytes()
    )
    assert open_depth(tmp_path / "depth.pfm").ravel().tolist() == [0, 1]


def test_an_unknown_input_range_of_a_depth_network_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match=r"values='nope': unknown; use one of imagenet, 0\.\.1"):
        DepthModel(data / "depth_last.tflite", values="nope")


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"must be \[height, width, 1\], not \[4, 4, 3\]"),
        (np.zeros(4, np.float32), r"not \[4\]"),
        (np.zeros((0, 4, 1), np.float32), r"not \[0, 4, 1\]"),
        (np.full((4, 4, 1), 9.0, np.float32), r"in \[0, 1\], not 9 to 9"),
        (np.zeros((4, 4, 1), np.uint16), "not uint16"),
    ],
)
def test_an_invalid_depth_map_is_refused(depth: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resize_depth(depth, 2, 2)


def test_holes_in_a_depth_map_are_far() -> None:
    depth = np.ones((8, 8, 1), np.float32)
    depth[:4] = np.nan
    np.testing.assert_allclose(resize_depth(depth, 2, 2)[..., 0], [[0, 0], [1, 1]])
    assert resize_depth(depth[..., 0], 8, 8).shape == (8, 8, 1)
