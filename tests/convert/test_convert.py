from __future__ import annotations

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from bokeh_convert import Conversion, convert
from bokeh_convert.data.calibration_data import Sample
from bokeh_convert.demo import DEMO_MODELS, demo_model
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_convert.sources import read_model
from bokeh_convert.verify.verification import compute_reference, verify
from bokeh_runtime import InputError, TfliteModel, read_metadata
from bokeh_runtime.metrics import grain
from bokeh_runtime.metrics.psnr import psnr
from bokeh_runtime.tflite.reference_pack import load_reference
from helpers.commands import command
from helpers.models import constant_model, small_model


@pytest.mark.slow
def test_demo_float16_has_the_full_models_output(demo_conversions) -> None:
    fidelity = demo_conversions["float16"].report.fidelity
    assert fidelity["psnr_db_worst"] >= 60


@pytest.mark.slow
def test_demo_int8_has_nearly_the_full_models_output(demo_conversions) -> None:
    fidelity = demo_conversions["int8"].report.fidelity
    assert fidelity["psnr_db_mean"] >= 44
    assert fidelity["psnr_db_worst"] >= 42
    search = demo_conversions["int8"].report.mixed_precision
    assert search["constraints_met"]
    assert search["cost_ratio"] <= 0.48


@pytest.mark.slow
def test_grain_sees_what_psnr_does_not(demo_conversions: dict[str, Conversion]) -> None:
    # What int8 was: scaled up, its blurred background is visibly grainy.
    before = quantize_convolutions(demo_conversions["float32"].path.read_bytes(), ())
    reference = load_reference(demo_conversions["float32"].reference_path)
    grainy, _ = verify(before, reference, threads=2, on_photo=lambda: None)
    assert grainy.psnr_db_mean > 43
    fidelity = demo_conversions["int8"].report.fidelity
    assert grainy.mean(grain.METRIC) > 0.8 > fidelity["grain_mean"]
    assert grainy.worst(grain.METRIC) > 1.0 > fidelity["grain_worst"]
    assert fidelity["grain_worst"] > fidelity["grain_mean"]
    assert fidelity["grain_worst"] == round(max(one["grain"] for one in fidelity["images"]), 6)
    assert demo_conversions["float16"].report.fidelity["grain_worst"] < 0.01
    assert not any("grain" in key for key in read_metadata(demo_conversions["int8"].path).fidelity)


@pytest.mark.slow
def test_demo_files_are_smaller_than_the_float_file(demo_conversions) -> None:
    size = {name: c.path.stat().st_size for name, c in demo_conversions.items()}
    # Filters of grouped pixels are stored once for each pixel.
    assert size["float16"] < 0.85 * size["float32"]
    assert size["int8"] < 0.55 * size["float32"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["float32", "float16", "dynamic", "int8"])
def test_the_reported_psnr_is_what_the_pack_and_the_file_on_disk_give(
    scheme: str, demo_conversions: dict[str, Conversion]
) -> None:
    conversion = demo_conversions[scheme]
    model = TfliteModel(conversion.path.read_bytes())
    with np.load(conversion.reference_path) as pack:
        measured = [
            psnr(np.clip(model.run(i / np.float32(255)), 0, 1), o, border_px=0)
            for i, o in zip(pack["inputs"], pack["outputs"], strict=True)
        ]
    reported = [image["psnr_db"] for image in conversion.report.fidelity["images"]]
    assert measured == pytest.approx(reported, abs=0.05)


@pytest.mark.slow
def test_a_file_has_metadata(demo_conversions: dict[str, Conversion]) -> None:
    conversion = demo_conversions["int8"]
    metadata = read_metadata(conversion.path)
    assert (metadata.input_height, metadata.input_width) == (256, 384)
    assert metadata.input_channels == "rgb"
    assert metadata.scheme == "int8"
    assert metadata.output_scale == 1.0
    assert metadata.source == conversion.report.source
    assert metadata.fidelity["vs"] == "full_model"
    assert metadata.fidelity["psnr_db_mean"] == conversion.report.fidelity["psnr_db_mean"]


@pytest.mark.slow
def test_the_report_on_disk_is_the_report(demo_conversions: dict[str, Conversion]) -> None:
    for conversion in demo_conversions.values():
        on_disk = json.loads(conversion.report_path.read_text(encoding="utf-8"))
        assert on_disk["schema"] == "bokeh-tflite/conversion/2"
        assert on_disk["sha256"] == conversion.report.sha256
        assert on_disk["size_bytes"] == conversion.path.stat().st_size


@pytest.mark.parametrize(("scheme", "used"), [("int16x8", 5), ("int8", 5)])
def test_no_photo_both_calibrates_and_verifies(
    scheme: str, used: int, small_keras: Path, photos: Path, tmp_path: Path
) -> None:
    (conversion,) = convert(
        small_keras,
        quant=[scheme],
        representative_dataset=photos,
        size=(32, 64),
        output_dir=tmp_path / "out",
    )
    report = conversion.report
    calibrated = {Path(name).stem for name in report.calibration["photos"]}
    verified = {image["name"] for image in report.fidelity["images"]}
    assert len(calibrated) == used
    assert len(verified) == 1
    assert not calibrated & verified
    assert not set(report.calibration["photos_sha256"]) & set(report.reference["photos_sha256"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(small_keras: Path, photos: Path, tmp_path) -> None:
    def int16x8(seed: int) -> tuple[bytes, list[str]]:
        (conversion,) = convert(
            small_keras,
            quant=["int16x8"],
            representative_dataset=photos,
            samples=3,
            seed=seed,
            size=(32, 64),
            output_dir=tmp_path / "out",
        )
        return conversion.path.read_bytes(), conversion.report.calibration["photos"]

    first, again, other = int16x8(1), int16x8(1), int16x8(2)
    assert first == again
    assert first[1] != other[1]


@pytest.mark.slow
def test_a_model_with_depth_is_fed_depth(photos: Path, tmp_path: Path) -> None:
    small_model(channels=4).save(tmp_path / "rgbd.keras")
    for photo in list(photos.iterdir()):
        if photo.suffix == ".png":
            photo.unlink()
    with pytest.raises(InputError, match=r"there is no depth map"):
        convert(
            tmp_path / "rgbd.keras",
            size=(32, 64),
            representative_dataset=photos,
            output_dir=tmp_path / "out",
        )
    (bundled,) = convert(
        tmp_path / "rgbd.keras", quant=["int8"], size=(32, 64), output_dir=tmp_path / "out"
    )
    assert bundled.report.calibration["depth"] == "ramp"
    assert read_metadata(bundled.path).input_channels == "rgbd"


@pytest.mark.slow
def test_under_the_asked_psnr_nothing_good_is_replaced(small_keras: Path, tmp_path: Path) -> None:
    (good,) = convert(small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path)
    before = good.path.read_bytes()
    (failed,) = convert(
        small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path, min_psnr_db=200
    )
    assert not failed.report.passed
    assert "below 200 dB" in failed.report.failure
    assert failed.path.name == "small_int8.failed.tflite"
    assert good.path.read_bytes() == before


@pytest.mark.slow
def test_pooled_error_and_worst_photo_are_held_to_the_asked_psnr(
    small_keras: Path, tmp_path: Path
) -> None:
    asked = {"quant": ["full-integer"], "size": (32, 64), "output_dir": tmp_path}
    (made,) = convert(small_keras, **asked)
    fidelity = made.report.fidelity
    assert fidelity["psnr_db_worst"] < fidelity["psnr_db_pooled"] < fidelity["psnr_db_mean"]
    metadata = read_metadata(made.path).fidelity
    for key in ("psnr_db_mean", "psnr_db_pooled", "psnr_db_worst", "identical_images"):
        assert metadata[key] == fidelity[key]
    assert (made.report.min_psnr_db, made.report.min_psnr_db_worst) == (None, None)
    between = (fidelity["psnr_db_pooled"] + fidelity["psnr_db_mean"]) / 2
    (failed,) = convert(small_keras, **asked, min_psnr_db=between)
    assert failed.report.min_psnr_db_worst == pytest.approx(between - 3)
    assert failed.report.failure.startswith("pooled PSNR ")
    (failed,) = convert(small_keras, **asked, min_psnr_db_worst=200)
    assert (failed.report.min_psnr_db, failed.report.min_psnr_db_worst) == (None, 200)
    assert failed.report.failure.startswith("PSNR of the worst photo (")


def test_the_grain_of_the_worst_photo_is_held_to_its_limit(
    small_keras: Path, tmp_path: Path
) -> None:
    asked = {"quant": ["dynamic"], "size": (96, 128), "output_dir": tmp_path}
    (made,) = convert(small_keras, **asked, max_grain=10)
    assert (made.report.passed, made.report.max_grain) == (True, 10)
    worst = made.report.fidelity["grain_worst"]
    assert 0 < worst < 10
    (failed,) = convert(small_keras, **asked, max_grain=worst / 2)
    assert not failed.report.passed
    assert failed.report.failure.startswith(f"grain {worst:.2f} of the worst photo (")
    assert failed.path.name == "small_dynamic.failed.tflite"
    (with_cost,) = convert(
        small_keras, **{**asked, "quant": ["int8"]}, max_latency=10, min_psnr_db=1, max_grain=0
    )
    assert with_cost.report.max_grain == 0
    assert "is above 0.00" in with_cost.report.failure


@pytest.mark.parametrize("asked", [float("nan"), float("inf"), -0.1])
def test_a_limit_that_no_grain_can_be_held_to_is_refused(asked: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"max_grain={asked} must be 0 or more, in units of"):
        convert(tmp_path / "any.keras", output_dir=tmp_path, max_grain=asked)


@pytest.mark.parametrize("option", ["min_psnr_db", "min_psnr_db_worst"])
@pytest.mark.parametrize("asked", [float("nan"), float("inf")])
def test_a_target_that_nothing_can_be_held_to_is_refused(
    option: str, asked: float, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=rf"{option}={asked}: a PSNR limit must be a finite number"
    ):
        convert(tmp_path / "any.keras", output_dir=tmp_path, **{option: asked})


def test_a_constant_output_is_refused(tmp_path: Path) -> None:
    constant_model().save(tmp_path / "grey.keras")
    with pytest.raises(InputError, match=r"its output .* is nearly constant"):
        convert(tmp_path / "grey.keras", size=(32, 32), output_dir=tmp_path / "out")


def test_an_output_with_nan_is_refused(tmp_path: Path) -> None:
    model = small_model()
    model.get_layer("last").set_weights([np.full((3, 3, 8, 3), np.nan), np.zeros(3)])
    model.save(tmp_path / "nan.keras")
    with pytest.raises(InputError, match=r"the output has NaN"):
        convert(tmp_path / "nan.keras", size=(32, 32), output_dir=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_file_that_breaks_in_conversion_fails_alone(
    small_keras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bokeh_convert.graph.to_tflite import lower
    from bokeh_convert.sources import read_model
    from bokeh_convert.stages import quantize

    def break_float16(content, scheme, *measured):
        whole = original(content, scheme, *measured)
        return lower_nan if scheme.name == "float16" else whole

    original = quantize.quantize
    model = small_model()
    model.get_layer("last").set_weights([np.full((3, 3, 8, 3), np.nan), np.zeros(3)])
    model.save(tmp_path / "nan.keras")
    lower_nan = lower(read_model(tmp_path / "nan.keras").at(32, 64))
    monkeypatch.setattr(quantize, "quantize", break_float16)
    broken, whole = convert(
        small_keras, quant=["float16", "float32"], size=(32, 64), output_dir=tmp_path
    )
    assert "has NaN" in broken.report.failure
    assert broken.report.fidelity is None
    assert whole.report.passed


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        ({"size": None}, "does not fix its input size; give size"),
        ({"size": (0, 64)}, "must be positive"),
        ({"quant": ["int4"]}, "quant='int4' is unknown; choose from"),
        ({"samples": 0}, "samples=0: calibration needs"),
        ({"max_latency": float("inf")}, "max_latency=inf must be a ratio above 0"),
        ({"size": (8, 16)}, "its output has 16 x 8 px, too few to measure its quality"),
        ({"representative_dataset": "nowhere"}, "nowhere: no such folder"),
    ],
)
def test_wrong_options_are_refused_and_leave_nothing(
    options: dict, cause: str, small_keras: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=cause):
        convert(small_keras, **{"size": (32, 64), "output_dir": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", range(6))
def test_a_photo_that_does_not_decode_is_skipped_and_reported(
    spoilt: int, small_keras: Path, photos: Path, tmp_path: Path
) -> None:
    # Some of these are calibration photos, the others verification photos.
    photo = sorted(photos.iterdir())[spoilt]
    photo.write_bytes(b"no picture")
    (converted,) = convert(
        small_keras,
        quant=["int16x8"],
        size=(32, 64),
        representative_dataset=photos,
        output_dir=tmp_path / "out",
    )
    report = converted.report
    (skipped,) = report.skipped_photos
    assert skipped["photo"] == photo.name
    assert "is not an image of a supported format" in skipped["cause"]
    assert report.calibration is not None
    assert report.fidelity is not None
    assert photo.name not in report.calibration["photos"]
    used = report.calibration["count"] + len(report.fidelity["images"])
    assert used == len(list(photos.iterdir())) - 1
    assert len(report.reference["photos_sha256"]) == len(report.fidelity["images"])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["float16", "int8"])
def test_a_black_photo_is_no_fault_of_the_network(
    scheme: str, photos: Path, tmp_path: Path
) -> None:
    photo = keras.Input((32, 64, 3))
    convolution = keras.layers.Conv2D(3, 3, padding="same", use_bias=False)
    model = keras.Model(photo, convolution(photo))
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[:, :, range(3), range(3)] = 1 / 9
    convolution.set_weights([kernel])
    model.save(tmp_path / "blur.keras")
    for i, path in enumerate(sorted(photos.iterdir())):
        if i:  # so that most verification and calibration photos are black, whatever the split
            black = np.full((50 + i, 70, 3), i, np.uint8)  # different files
            cv2.imwrite(str(path.with_suffix(".png")), black)
            if path.suffix != ".png":
                path.unlink()
    arguments = {"quant": [scheme], "representative_dataset": photos, "output_dir": tmp_path}
    seen = []
    for seed in range(8):
        try:
            (made,) = convert(tmp_path / "blur.keras", seed=seed, **arguments)
        except InputError as error:
            seen.append(str(error))
        else:
            seen.append("passed" if made.report.passed else made.report.failure)
    uniform = f"{photos}: its verification photos are all nearly uniform, which shows nothing"
    assert all(one == "passed" or one.startswith(uniform) for one in seen), seen
    assert "passed" in seen


@pytest.mark.parametrize("colours", [(0.5, 0.5, 0.5), (0.2, 0.5, 0.7)])
def test_a_uniform_colour_is_no_picture(
    colours: tuple[float, ...], tmp_path: Path, photos: Path
) -> None:
    photo = keras.Input((32, 64, 3))
    convolution = keras.layers.Conv2D(3, 1, kernel_initializer="zeros")
    model = keras.Model(photo, convolution(photo))
    convolution.set_weights([convolution.get_weights()[0], np.array(colours)])
    model.save(tmp_path / "uniform.keras")
    with pytest.raises(InputError, match="is constant; use a fully trained model"):
        convert(
            tmp_path / "uniform.keras",
            input_range="0..1",
            output_range="0..1",
            representative_dataset=photos,
            output_dir=tmp_path,
        )


@pytest.mark.slow
def test_identical_outputs_in_int8_are_a_result_too(photos: Path, tmp_path: Path) -> None:
    photo = keras.Input((32, 64, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(photo)
    x = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros")(x)
    keras.Model(photo, keras.layers.add([photo, x])).save(tmp_path / "untrained.keras")
    (made,) = convert(
        tmp_path / "untrained.keras",
        quant=["int8"],
        representative_dataset=photos,
        output_dir=tmp_path,
    )
    assert made.report.fidelity is not None
    assert made.report.fidelity["psnr_db_worst"] is None
    assert made.report.fp16_arithmetic is not None
    assert made.report.fp16_arithmetic["min_psnr_db"] is None


@pytest.mark.slow
def test_float16_arithmetic_has_to_meet_the_limits_that_were_asked_for(
    small_keras: Path, photos: Path, tmp_path: Path
) -> None:
    def made(**limits: float) -> Conversion:
        (one,) = convert(
            small_keras,
            quant=["float16"],
            size=(32, 64),
            representative_dataset=photos,
            output_dir=tmp_path,
            **limits,
        )
        return one

    free = made()
    decision = free.report.fp16_arithmetic
    assert decision is not None
    assert free.report.fidelity is not None
    own, emulated = free.report.fidelity["psnr_db_worst"], decision["psnr_db_worst"]
    assert decision["allowed"]
    assert own > emulated
    limited = made(min_psnr_db_worst=(own + emulated) / 2)
    assert limited.report.passed
    refused = limited.report.fp16_arithmetic
    assert refused is not None
    assert not refused["allowed"]
    assert "PSNR of the worst photo" in refused["shortfall"]


def test_photos_of_one_name_are_told_apart(small_keras: Path, tmp_path: Path, photos: Path) -> None:
    for i, photo in enumerate(sorted(photos.iterdir())):
        (tmp_path / "roll" / str(i)).mkdir(parents=True)
        photo.rename(tmp_path / "roll" / str(i) / f"IMG_1{photo.suffix}")
    sized = read_model(small_keras).at(32, 64)
    samples = [Sample(path, None) for path in sorted((tmp_path / "roll").rglob("IMG_1*"))]
    names = compute_reference(sized, samples, lambda: None).names
    assert names == [f"{i}/IMG_1" for i in range(6)]


def test_too_few_photos_that_decode_are_refused(
    small_keras: Path, photos: Path, tmp_path: Path
) -> None:
    for photo in sorted(photos.iterdir())[1:]:
        photo.write_bytes(b"no picture" + photo.name.encode())
    with pytest.raises(InputError, match=r"too few readable photos.*is not an image"):
        convert(
            small_keras,
            quant=["int16x8"],
            size=(32, 64),
            representative_dataset=photos,
            output_dir=tmp_path / "out",
        )
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_calibration_photo_that_lacks_its_end_is_used_and_noted(
    small_keras: Path, photos: Path, tmp_path: Path
) -> None:
    photo = photos / "a.jpg"
    photo.write_bytes(photo.read_bytes()[:-2])
    done = command(
        "bokeh-convert", small_keras, "--quant", "int16x8", "--size", "32x64",
        "--representative-dataset", photos, "-o", tmp_path / "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"note: {photo}: its end marker is missing" in done.stderr
    assert "skipped" not in done.stderr


def test_a_folder_without_photos_is_refused(small_keras: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"photos: 0 different photos .* at least two"):
        convert(small_keras, size=(32, 64), representative_dataset=tmp_path / "photos")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMO_MODELS)
def test_keras_loads_the_shipped_models(name: str) -> None:
    import bokeh_convert.pynet.int8_aware  # noqa: F401  (registers the layers, as the cards say)

    assert demo_model(name).stat().st_size <= 4_000_000
    model = keras.saving.load_model(demo_model(name))
    assert model.input_shape == (None, None, None, 3)
