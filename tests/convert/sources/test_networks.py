"""Networks as people train them, converted and compared with what Keras 2.15 computes.

The expected outputs in `networks.npz` were computed by Keras on the photo as each network was
trained to see it, so that a conversion that feeds another range, layout or type cannot pass.
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from bokeh_convert import convert
from bokeh_runtime import BokehModel, InputError, TfliteModel
from bokeh_runtime.imaging.photo import FloatImage, save_photo
from bokeh_runtime.tflite.value_range import BYTES, SIGNED, UNIT, ImageRanges

NETWORKS = Path(__file__).parents[2] / "data/networks"
FOUND = {
    "rescaling_to_01": ImageRanges(BYTES, UNIT),
    "rescaling_to_255": ImageRanges(BYTES, BYTES),
    "normalization": ImageRanges(UNIT, UNIT),
    "tanh": ImageRanges(SIGNED, SIGNED),
    "pix2pix": ImageRanges(SIGNED, SIGNED),
    "bytes_input": ImageRanges(BYTES, UNIT),
    "uint8": ImageRanges(BYTES, UNIT),
    "batch_norm_training": ImageRanges(UNIT, UNIT),
    "two_inputs": ImageRanges(UNIT, UNIT),
    "channels_first": ImageRanges(UNIT, UNIT),
    "espcn": ImageRanges(UNIT, UNIT),
    "addons_norm": ImageRanges(UNIT, UNIT),
    "mixed_float16": ImageRanges(UNIT, UNIT),
}


@pytest.fixture(scope="module")
def expected() -> Mapping[str, npt.NDArray[np.generic]]:
    with np.load(NETWORKS / "networks.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def photos(
    tmp_path_factory: pytest.TempPathFactory, expected: Mapping[str, npt.NDArray[np.generic]]
) -> Path:
    """Photos of the networks' size with depth maps."""
    folder = tmp_path_factory.mktemp("photos")
    photo = np.asarray(expected["photo"], np.float32) / 255
    depth = np.asarray(expected["depth"], np.float32)
    for name, image in (("a", photo), ("b", photo[:, ::-1]), ("c", photo[::-1])):
        save_photo(folder / f"{name}.jpg", image)
        save_photo(folder / f"{name}.png", np.repeat(depth, 3, axis=2))
    return folder


def decibels(image: FloatImage, expected: FloatImage) -> float:
    return float(-10 * np.log10(np.mean((image.astype(np.float64) - expected) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_a_converted_network_computes_what_keras_does(
    name: str, photos: Path, expected: Mapping[str, npt.NDArray[np.generic]], tmp_path: Path
) -> None:
    size = (48, 72) if name == "espcn" else None
    float16, int8 = convert(
        NETWORKS / f"{name}.h5",
        quant=["float16", "int8"],
        representative_dataset=photos,
        output_dir=tmp_path,
        size=size,
    )
    photo = np.asarray(expected["photo"], np.float32) / 255
    if name == "two_inputs":
        photo = np.concatenate([photo, expected["depth"]], axis=2)
    if name == "espcn":
        photo = photo @ np.array([[0.299], [0.587], [0.114]], np.float32)
    want = np.asarray(expected[name], np.float32)
    if name == "channels_first":
        want = want.transpose(1, 2, 0)
    for conversion, least in ((float16, 60), (int8, 40)):
        with BokehModel.open(conversion.path, "cpu") as model:
            assert model.ranges == FOUND[name]
            output = model.engine.run(photo)
            assert decibels(output, FOUND[name].output.to_unit(want)) > least
            assert conversion.report.passed


@pytest.mark.slow
def test_a_network_that_fits_two_ranges_is_asked_for_them(photos: Path, tmp_path: Path) -> None:
    """Fed 0..1, a network that was trained on -1..1 gives a bright picture."""
    with pytest.raises(InputError, match=r"range is not clear.* give input_range"):
        convert(NETWORKS / "signed_input.h5", output_dir=tmp_path)
    (float16,) = convert(
        NETWORKS / "signed_input.h5",
        representative_dataset=photos,
        input_range="-1..1",
        output_dir=tmp_path,
    )
    assert float16.report.passed


def test_a_network_that_is_random_says_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its output is random: layer dropout.*training=False"):
        convert(NETWORKS / "dropout_training.h5", output_dir=tmp_path)


def test_a_normalization_that_is_not_known_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown class GroupNormalization.*custom_objects"):
        convert(NETWORKS / "groups_norm.h5", output_dir=tmp_path)


@pytest.mark.slow
def test_grouped_convolutions_compute_what_keras_does(photos: Path, tmp_path: Path, rng) -> None:
    keras.utils.set_random_seed(3)
    photo = keras.Input((48, 72, 3))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(photo)
    grouped = [keras.layers.Conv2D(8, size, padding="same", groups=2)(x) for size in (3, 5)]
    x = keras.layers.LeakyReLU()(keras.layers.Concatenate()(grouped))
    x = keras.layers.Rescaling(0.2)(keras.layers.Conv2D(3, 1)(x))
    model = keras.Model(photo, keras.layers.Add()([photo, x]))
    model.save(tmp_path / "grouped.keras")
    image = rng.random((48, 72, 3), np.float32)
    expected = np.asarray(model(image[np.newaxis])[0])
    for conversion in convert(
        tmp_path / "grouped.keras",
        quant=["float16", "dynamic", "int8"],
        representative_dataset=photos,
        output_dir=tmp_path,
    ):
        output = TfliteModel(conversion.path.read_bytes(), threads=1).run(image)
        assert decibels(output, expected) > (60 if conversion.report.scheme == "float16" else 40)
