from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bokeh_bench.cli import main
from bokeh_bench.studies.conversion import _failure
from bokeh_bench.studies.held_out import held_out_reference
from bokeh_convert.data.calibration_data import Sample
from bokeh_runtime.errors import InputError
from helpers.models import small_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "small.keras"
    small_model().save(path)
    return path


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> list[Path]:
    """Three photos in a folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{name}.png" for name in "abc"]
    for path in paths:
        cv2.imwrite(
            str(path), cv2.resize(rng.integers(0, 255, (8, 12, 3)).astype(np.uint8), (96, 64))
        )
    return paths


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    path = tmp_path_factory.mktemp("bench") / "small.keras"
    small_model().save(path)
    done = CliRunner().invoke(
        main,
        [
            "study",
            "conversion",
            str(path),
            *("--size", "64x96", "--runs", "2", "--json"),
            *("--only", "bokeh-convert int8", "--only", "TFLiteConverter full-integer"),
        ],
    )
    assert done.exit_code == 0, done.output
    return {row["made_by"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.slow
def test_every_asked_way_has_a_row_beside_the_baseline(rows: dict[str, dict]) -> None:
    assert list(rows) == [
        "bokeh-convert float32",
        "bokeh-convert int8",
        "TFLiteConverter full-integer",
    ]


@pytest.mark.slow
def test_figures_are_measured_on_the_files(rows: dict[str, dict]) -> None:
    assert rows["bokeh-convert float32"]["latency_ratio"] == 1
    assert rows["bokeh-convert float32"]["psnr_db_mean"] > 100
    assert rows["bokeh-convert int8"]["psnr_db_mean"] < 80
    for row in rows.values():
        assert row["latency_ratio"] > 0
        assert row["size_bytes"] > 1000
        assert row["process_s"] > row["convert_s"] > 0
        assert row["peak_rss_bytes"] > 100e6  # TensorFlow alone takes that


@pytest.mark.slow
def test_quality_is_measured_on_held_out_photos(trained: Path, photos: list[Path]) -> None:
    words = ["study", "conversion", str(trained), "--photos", str(photos[0].parent)]
    options = ["--size", "64x96", "--runs", "0", "--only", "bokeh-convert float16", "--json"]
    done = CliRunner().invoke(main, [*words, *options])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [row["held_out_photos"] for row in rows] == [3, 3]
    assert all(row["psnr_db_mean"] is None or row["psnr_db_mean"] > 60 for row in rows)


@pytest.mark.slow
def test_held_out_photos_are_run_by_the_full_model(trained: Path, photos: list[Path]) -> None:
    found = held_out_reference(trained, photos[0].parent, [], (64, 96), lambda: None)
    assert list(found.names) == ["a", "b", "c"]
    assert found.inputs[0].shape == (64, 96, 3)


@pytest.mark.slow
def test_a_calibration_photo_is_not_held_out(trained: Path, photos: list[Path]) -> None:
    calibrated = [Sample(photos[1], None)]
    with pytest.raises(InputError, match=r"b\.png: was used for calibration"):
        held_out_reference(trained, photos[0].parent, calibrated, (64, 96), lambda: None)


@pytest.mark.slow
def test_an_untrained_network_can_stand_in_for_a_model() -> None:
    done = CliRunner().invoke(
        main,
        [
            "study",
            "conversion",
            *("--untrained", "0.125", "--size", "64x96", "--runs", "0", "--json"),
            *("--only", "bokeh-convert float32"),
        ],
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["latency_ratio"] is None


@pytest.mark.slow
def test_a_missing_model_is_exit_code_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["study", "conversion", str(tmp_path / "none.h5")])
    assert done.exit_code == 2
    assert "no such file" in done.output


def test_a_file_that_fails_when_it_is_run_is_a_row_with_a_reason() -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def squared(photo: tf.Tensor) -> tf.Tensor:
        return tf.math.squared_difference(photo, tf.reduce_mean(photo, axis=(1, 2), keepdims=True))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([squared.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    photos = np.random.default_rng(1).random((2, 1, 8, 8, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([photo] for photo in photos)
    sixteen = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [sixteen]
    failure = _failure(converter.convert(), photos[0, 0])
    assert failure is not None
    assert "SquaredDifference only supports" in failure
