from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from bokeh_runtime import InputError, Photo, read_photo
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.imaging.depth import (
    normalize_depth,
    open_depth,
    open_depth_of_photo,
    read_depth,
    read_depth_of_photo,
    resize_depth,
)


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


def saved(folder: Path, name: str, values: np.ndarray) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".png":
        cv2.imwrite(str(path), values)
    else:
        tifffile.imwrite(path, values)
    return path


@pytest.mark.parametrize("name", ["map.npy", "map.tif"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_float_maps_are_normalized(name: str, dtype: str, tmp_path: Path) -> None:
    metres = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]], dtype)
    path = saved(tmp_path, name, metres)
    near_first = read_depth(path, far_is_bright=True)
    np.testing.assert_allclose(read_depth(path).values[..., 0], (metres - 1) / 8, atol=1e-6)
    np.testing.assert_allclose(near_first.values[..., 0], (9 - metres) / 8, atol=1e-6)
    assert near_first.notes == ()


@pytest.mark.parametrize("name", ["map.npy", "map.tif"])
@pytest.mark.parametrize("far_is_bright", [False, True])
def test_values_of_a_float_map_that_are_not_finite_are_far(
    far_is_bright: bool, name: str, tmp_path: Path
) -> None:
    values = np.array([[1.0, np.nan], [np.inf, 9.0]], np.float32)
    depth = read_depth(saved(tmp_path, name, values), far_is_bright=far_is_bright)
    assert depth.values.ravel().tolist() == ([1, 0, 0, 0] if far_is_bright else [0, 0, 0, 1])
    assert depth.notes == ("50 % of its values are not finite; they are far",)
    path = saved(tmp_path, name, np.full((2, 2), np.nan, np.float32))
    with pytest.raises(InputError, match=r"map\.\w+: has no finite value"):
        read_depth(path)


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "packbits", "tiff_lzw"])
def test_compressed_float_tiff_files_are_read(compression: str, tmp_path: Path) -> None:
    values = np.linspace(2, 6, 1200, dtype=np.float32).reshape(30, 40)
    path = tmp_path / "map.tif"
    Image.fromarray(values).save(path, compression=compression)
    np.testing.assert_allclose(read_depth(path).values[..., 0], (values - 2) / 4, atol=1e-6)


def test_the_layouts_of_an_npy_file(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = values / 5
    for stored in (values, np.asfortranarray(values), values[..., None], values[None, ..., None]):
        depth = read_depth(saved(tmp_path, "map.npy", stored)).values
        np.testing.assert_allclose(depth[..., 0], expected, atol=1e-6)
    depth = read_depth(saved(tmp_path, "map.npy", np.array([[0, 51, 255]], np.uint8))).values
    np.testing.assert_allclose(depth.ravel(), [0, 0.2, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"has the shape \[4, 4, 3\]"),
        (np.zeros((0, 4), np.float32), "has no pixels"),
        (np.zeros((4, 4), np.int64), "holds values of type int64; save it as float32"),
        (np.array([[{}]], object), "holds values of type object"),
    ],
)
def test_other_npy_files_are_refused(values: np.ndarray, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "map.npy", values)
    with pytest.raises(InputError, match=rf"map\.npy: {message}"):
        read_depth(path)


def test_a_damaged_map_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("map.npy", "map.tif"):
        whole = saved(tmp_path, name, np.ones((20, 20), np.float32)).read_bytes()
        for size in (5, 20, 90, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:size])
            with pytest.raises(InputError, match=rf"^\S*{name}: [^\n]+$"):
                read_depth(tmp_path / name)
    huge = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    head = b"\x93NUMPY\x01\x00" + len(huge).to_bytes(2, "little") + huge
    (tmp_path / "map.npy").write_bytes(head + bytes(100))
    with pytest.raises(InputError, match="more than 256 megapixels"):
        read_depth(tmp_path / "map.npy")


def test_a_map_of_millimetres_is_noted_and_normalized(tmp_path: Path) -> None:
    millimetres = np.array([[0, 500], [1000, 1500]], np.uint16)  # 0 is unknown
    path = saved(tmp_path, "map.png", millimetres)
    depth = read_depth(path)
    assert depth.values.ravel().tolist() == [0, 0, 0.5, 1]
    (note,) = depth.notes
    assert note == "uses 2 % of its range: probably millimetres, so it is normalized; near is dark"
    assert depth.is_probably_metric
    assert read_depth(path, far_is_bright=True).values.ravel().tolist() == [0, 1, 0.5, 0]


def test_other_integer_maps_are_not_normalized(tmp_path: Path) -> None:
    for values in ([[0, 65535 // 4]], [[300, 300]]):
        depth = read_depth(saved(tmp_path, "map.png", np.array(values, np.uint16)))
        np.testing.assert_allclose(depth.values.ravel(), np.array(values[0]) / 65535, atol=1e-6)
        assert depth.notes == ()
    dark = read_depth(saved(tmp_path, "map.png", np.array([[0, 20]], np.uint8)))
    np.testing.assert_allclose(dark.values.ravel(), [0, 20 / 255], atol=1e-6)


def test_far_is_bright_turns_a_file_over(tmp_path: Path) -> None:
    path = saved(tmp_path, "map.png", np.array([[0, 51, 255]], np.uint8))
    depth = read_depth(path, far_is_bright=True).values
    np.testing.assert_allclose(depth.ravel(), [1, 0.8, 0], atol=1e-6)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_map_that_lies_as_the_sensor_is_turned(orientation: int, tmp_path: Path) -> None:
    sensor = np.zeros((40, 60, 3), np.uint8)
    sensor[:20, :30] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(sensor).save(tmp_path / "photo.png", exif=exif)
    photo = read_photo(tmp_path / "photo.png")
    assert photo.pixels.shape == (60, 40, 3)
    assert photo.orientation == orientation
    path = saved(tmp_path, "map.png", sensor[::2, ::2, 0])
    depth = read_depth_of_photo(path, photo)
    np.testing.assert_array_equal(depth.values[..., 0] > 0, photo.pixels[::2, ::2, 0] > 0)
    assert depth.notes == (f"turned by the photo's EXIF orientation ({orientation})",)
    assert open_depth_of_photo(path, photo).shape == (30, 20, 1)
    # The map of the upright photo stays as it is.
    upright = saved(tmp_path, "upright.png", photo.pixels[..., 0])
    assert read_depth_of_photo(upright, photo).notes == ()


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_map_that_fits_turned_or_not_is_noted(orientation: int, tmp_path: Path) -> None:
    path = saved(tmp_path, "map.png", np.arange(2400, dtype=np.uint8).reshape(40, 60))
    photo = Photo(np.zeros((80, 120, 3), np.uint8), orientation=orientation)
    depth = read_depth_of_photo(path, photo)
    assert depth.notes == (
        f"taken as it is, though the photo is turned by its EXIF orientation ({orientation}); "
        "turn the map if it lies as the sensor",
    )
    np.testing.assert_array_equal(depth.values, read_depth(path).values)
    square = Photo(np.zeros((80, 80, 3), np.uint8), orientation=6)
    path = saved(tmp_path, "square.png", np.zeros((40, 40), np.uint8))
    assert "taken as it is" in read_depth_of_photo(path, square).notes[0]


def test_a_map_that_does_not_fit_is_refused_or_noted(tmp_path: Path) -> None:
    path = saved(tmp_path, "map.png", np.zeros((40, 60), np.uint8))
    portrait = Photo(np.zeros((60, 40, 3), np.uint8))
    with pytest.raises(InputError, match=r"map\.png: the depth map is 60 x 40, but the upright"):
        read_depth_of_photo(path, portrait)
    narrow = Photo(np.zeros((100, 40, 3), np.uint8), orientation=6)
    with pytest.raises(InputError, match="the upright photo is 40 x 100; give a depth map of"):
        read_depth_of_photo(path, narrow)
    wide = Photo(np.zeros((40, 100, 3), np.uint8))
    assert read_depth_of_photo(path, wide).notes == (
        "is 60 x 40 for a photo of 100 x 40; it is stretched",
    )
    assert open_depth_of_photo(path, wide).shape == (40, 100, 1)
    square = saved(tmp_path, "square.png", np.zeros((50, 50), np.uint8))
    assert "stretched" in read_depth_of_photo(square, portrait).notes[0]
