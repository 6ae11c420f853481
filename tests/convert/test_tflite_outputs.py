"""Files of several outputs or graphs, as TensorFlow's converter writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bokeh_bench.measure.cases import read_model_under_test
from bokeh_bench.measure.references import FullModelReferences
from bokeh_runtime import BokehModel, HardwareError, InputError, TfliteModel
from bokeh_runtime.backends.delegates import EngineOptions, open_engine
from bokeh_runtime.depth_model import DepthModel
from bokeh_runtime.tflite.file import read_tflite

SHAPE = [1, 32, 48, 3]
Outputs = Callable[[Any], dict[str, Any]]


def write(path: Path, **graphs: Outputs) -> Path:
    """Writes a .tflite file with one signature per graph."""
    module = tf.Module()
    spec = tf.TensorSpec(SHAPE, tf.float32, name="photo")
    for name, outputs in graphs.items():
        setattr(module, name, tf.function(outputs, input_signature=[spec]))
    concrete = [getattr(module, name).get_concrete_function() for name in graphs]
    saved = path.with_suffix("")
    tf.saved_model.save(module, str(saved), dict(zip(graphs, concrete, strict=True)))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved), signature_keys=list(graphs))
    path.write_bytes(converter.convert())
    return path


@pytest.fixture
def two_pictures(tmp_path: Path) -> Path:
    return write(tmp_path / "two.tflite", draw=lambda photo: {"a": photo * 0.25, "b": photo * 0.75})


@pytest.fixture
def mask_and_picture(tmp_path: Path) -> Path:
    """A mask, which is the first output, and the image."""
    return write(
        tmp_path / "mask.tflite",
        draw=lambda photo: {"a_mask": photo[..., :1] * 0.5, "b_picture": photo * 0.75},
    )


@pytest.fixture
def two_graphs(tmp_path: Path) -> Path:
    return write(
        tmp_path / "graphs.tflite",
        a_passthrough=lambda photo: {"out": photo * 1.0},
        enhance=lambda photo: {"out": photo * 0.5},
    )


@pytest.mark.slow
def test_two_pictures_are_not_chosen_from(two_pictures: Path) -> None:
    said = r"two\.tflite: has several outputs with 3 channels: .*\[1, 32, 48, 3\], "
    with pytest.raises(InputError, match=said):
        BokehModel.open(two_pictures, "cpu")
    with pytest.raises(InputError, match=said):
        read_model_under_test(two_pictures, FullModelReferences(None, None, None, print))
    with pytest.raises(InputError, match="several outputs with 3 channels"):
        TfliteModel(two_pictures.read_bytes())


@pytest.mark.slow
def test_the_only_picture_is_taken_wherever_it_stands(mask_and_picture: Path) -> None:
    file = read_tflite(mask_and_picture)
    picture = file.outputs.index(next(i for i in file.outputs if file.tensors[i].shape[3] == 3))
    assert file.image_output_index == picture
    photo = np.full((32, 48, 3), 0.4, np.float32)
    np.testing.assert_allclose(TfliteModel(file.content).run(photo), 0.3, atol=1e-6)
    with BokehModel.open(mask_and_picture, "cpu") as model:
        actual = model.render(photo, network_resolution=True).pixels
    np.testing.assert_allclose(actual, 0.3, atol=1e-4)
    if picture != 0:
        with pytest.raises(HardwareError, match="the image is not the model's first output"):
            open_engine(file, EngineOptions("gpu"))


@pytest.mark.slow
def test_a_network_of_several_outputs_without_a_picture_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "masks.tflite", draw=lambda photo: {"a": photo[..., :1], "b": photo[..., 1:2]}
    )
    with pytest.raises(InputError, match=r"masks\.tflite: has no output with 3 channels"):
        BokehModel.open(path, "cpu")


@pytest.mark.slow
def test_two_graphs_are_named_and_not_chosen_from(two_graphs: Path) -> None:
    names = [signature.name for signature in read_tflite(two_graphs).signatures]
    assert names == ["a_passthrough", "enhance"]
    said = r"graphs\.tflite: has several signatures, a_passthrough and enhance; "
    with pytest.raises(InputError, match=said):
        BokehModel.open(two_graphs, "cpu")
    with pytest.raises(InputError, match=said):
        read_model_under_test(two_graphs, FullModelReferences(None, None, None, print))


@pytest.mark.slow
def test_the_only_map_of_a_depth_network_is_taken(tmp_path: Path) -> None:
    def feature_and_map(photo: Any) -> dict[str, Any]:
        return {"a_feature": photo * 1.0, "b_map": photo[..., 0] + 0.0}

    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, 24:, 0] = 255
    path = write(tmp_path / "depth.tflite", draw=feature_and_map)
    depth = DepthModel(path, values="0..1", threads=1).run(pixels)
    assert (depth[:, :23].max(), depth[:, 25:].min()) == (0, 1)
    two = write(
        tmp_path / "two.tflite", draw=lambda photo: {"a": photo[..., 0] * 2, "b": photo[..., 1] * 2}
    )
    with pytest.raises(InputError, match=r"two\.tflite: does not map one image to one depth map"):
        DepthModel(two)
