from __future__ import annotations

import json
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from bokeh_convert import convert
from bokeh_convert.graph.cost_model import (
    Precision,
    convolution_cost,
    elementwise_cost,
    graph_cost,
)
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.op_inventory import read_operators
from bokeh_convert.graph.schema_views import Op, TensorType
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.quantize.engine import quantize_convolutions
from bokeh_convert.quantize.mixed_precision_files import DynamicRange
from bokeh_convert.quantize.mixed_precision_search import SearchResult, search_mixed_precision
from bokeh_convert.quantize.search_constraints import SearchConstraints, Trial
from bokeh_convert.report import to_json
from bokeh_convert.sources import read_model
from bokeh_convert.verify.trade_off import save_trade_off
from bokeh_runtime import InputError, TfliteModel
from helpers.models import small_model
from helpers.quantization import static_range


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six convolutions, the fourth with one input channel 3000 times larger than the others.

    Quantized to 8 bits with one scale for all channels, its input loses all other channels.
    """
    keras.utils.set_random_seed(3)
    photo = keras.Input((None, None, 3), name="photo")
    x = photo
    for number in range(1, 6):
        x = keras.layers.Conv2D(8, 3, padding="same", activation="tanh", name=f"conv{number}")(x)
        if number == 3:
            factors = np.ones(8, np.float32)
            factors[0] = 3000
            x = keras.layers.Normalization(mean=np.zeros(8), variance=factors**-2.0)(x)
    x = keras.layers.Conv2D(3, 3, padding="same", name="conv6")(x)
    model = keras.Model(photo, keras.layers.Rescaling(0.1, offset=0.5)(x))
    kernel, bias = model.get_layer("conv4").get_weights()
    kernel[:, :, 0] /= 3000
    model.get_layer("conv4").set_weights([kernel, bias])
    path = tmp_path_factory.mktemp("uneven") / "uneven.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def float32(uneven: Path) -> bytes:
    return lower(read_model(uneven).at(64, 96))


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [cv2.GaussianBlur(rng.random((64, 96, 3), np.float32), (0, 0), 2) for _ in range(3)]


def search(
    float32: bytes, photos: list[np.ndarray], constraints: SearchConstraints, **options: bool
) -> SearchResult:
    return search_mixed_precision(DynamicRange(float32), photos, constraints, threads=1, **options)


def test_the_convolution_with_the_largest_error_stays_in_float32(float32: bytes, photos) -> None:
    all_int8 = search(float32, photos, SearchConstraints(min_psnr_db=0)).chosen
    assert all_int8.float_convolutions == frozenset()
    target = all_int8.psnr_db_mean + 6
    result = search(float32, photos, SearchConstraints(min_psnr_db=target))
    assert result.constraints_met
    assert any("conv4" in name for name in result.chosen.float_convolutions)
    assert result.chosen.psnr_db_mean >= target
    assert len(result.chosen.float_convolutions) < result.convolutions == 6
    assert all_int8.cost_ratio < result.chosen.cost_ratio < 1


def test_the_chosen_trial_is_the_cheapest_that_meets_the_constraints(
    float32: bytes, photos
) -> None:
    all_int8 = search(float32, photos, SearchConstraints(min_psnr_db=0)).chosen
    constraints = SearchConstraints(min_psnr_db=all_int8.psnr_db_mean + 3)
    result = search(float32, photos, constraints, full_curve=True)
    good = [trial for trial in result.trials if constraints.met_by(trial)]
    cheapest = good[0]
    assert result.chosen.cost_ratio < cheapest.cost_ratio + 0.01
    if result.chosen is not cheapest:
        assert result.chosen.error(constraints) <= cheapest.error(constraints) / 2
    assert [t.cost_ratio for t in result.trials] == sorted(t.cost_ratio for t in result.trials)


def test_if_no_trial_meets_the_constraints_the_best_is_returned(float32: bytes, photos) -> None:
    result = search(float32, photos, SearchConstraints(min_psnr_db=200))
    assert not result.constraints_met
    errors = [trial.error(SearchConstraints(min_psnr_db=200)) for trial in result.trials]
    assert result.chosen.error(SearchConstraints(min_psnr_db=200)) == min(errors)
    dear = search(float32, photos, SearchConstraints(min_psnr_db=200, max_cost_ratio=0.8))
    assert not dear.constraints_met
    assert dear.chosen.cost_ratio <= 0.8
    hopeless = search(float32, photos, SearchConstraints(min_psnr_db=0, max_cost_ratio=0.01))
    assert not hopeless.constraints_met
    assert hopeless.chosen.float_convolutions == frozenset()


def test_the_curve_is_valid_json(float32: bytes, photos) -> None:
    curve = json.loads(to_json(search(float32, photos, SearchConstraints(200)).summary()))["trials"]
    assert len(curve) > 6
    assert all(0 < point["cost_ratio"] <= 1 for point in curve)


def test_a_photo_with_identical_outputs_does_not_hide_a_bad_one(float32: bytes, photos) -> None:
    black = np.zeros_like(photos[0])  # quantized without error
    all_int8 = search(float32, [black, photos[0]], SearchConstraints(0)).chosen
    alone = search(float32, [photos[0]], SearchConstraints(0)).chosen
    assert all_int8.psnr.identical_images == 1
    assert all_int8.psnr_db_mean == alone.psnr_db_mean
    assert all_int8.psnr_db_pooled == pytest.approx(alone.psnr_db_pooled + 10 * np.log10(2))
    constraints = SearchConstraints(alone.psnr_db_mean + 6)
    result = search(float32, [black, photos[0]], constraints)
    assert result.constraints_met
    assert any("conv4" in name for name in result.chosen.float_convolutions)
    to_json(result.summary())


def test_a_result_with_identical_outputs_for_all_photos_can_be_saved(
    float32: bytes, photos, tmp_path: Path
) -> None:
    constraints = SearchConstraints(40)
    result = search(float32, [np.zeros_like(photos[0])], constraints)
    assert result.constraints_met
    point = json.loads(to_json(result.summary()))["trials"][0]
    assert (point["psnr_db_mean"], point["identical_images"]) == (None, 1)
    save_trade_off(tmp_path / "curve.png", result, constraints)
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("psnr_db", "holds"),
    [
        ((41.0, 41.0), True),
        ((60.0, 38.0), False),  # pooled PSNR of 41.0 - 0.03 dB
        ((60.0, 38.1), True),
        ((60.0, 60.0, 60.0, 37.9), False),
        ((np.inf, 40.9), False),
        ((np.inf, np.inf), True),
        ((np.inf, 0.0), False),
    ],
)
def test_a_trial_must_meet_the_limits_on_mean_pooled_and_worst(psnr_db: tuple, holds: bool) -> None:
    trial = Trial(frozenset(), psnr_db, (0.5,), 0.5, 0)
    assert SearchConstraints(40).met_by(trial) is holds
    assert SearchConstraints(40, min_psnr_db_worst=41).met_by(trial) is (min(psnr_db) >= 42)


def test_float_convolutions_keep_their_float_weights(float32: bytes) -> None:
    (name,) = [n for n in _results(float32) if "conv4" in n]
    types = [
        operator.constant_types[0]
        for operator in read_operators(quantize_convolutions(float32, [name]))
        if operator.name == "CONV_2D"
    ]
    assert types == ["int8", "int8", "int8", "float32", "int8", "int8"]


def _results(content: bytes) -> list[str]:
    graph = Graph(content)
    return [
        graph.name(int(op.outputs[0])) for op in graph.operators if graph.opcode(op) == Op.CONV_2D
    ]


def test_costs_add_up(tmp_path: Path) -> None:
    photo = keras.Input((32, 64, 4))
    x = keras.layers.Conv2D(8, 5, padding="same")(photo)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same", use_bias=False)(x)
    keras.Model(photo, x).save(tmp_path / "two.keras")
    graph = Graph(lower(read_model(tmp_path / "two.keras").at(32, 64)))
    pixels = 32 * 64
    for precision in (Precision.FLOAT32, Precision.DYNAMIC):
        # A transposed convolution applies its kernel once per input pixel, and stays float32.
        up = convolution_cost(Precision.FLOAT32, pixels, 3, 8, 3)
        convolution = convolution_cost(precision, pixels, 5, 4, 8)
        expected = convolution + elementwise_cost(pixels * 8) + up
        assert graph_cost(graph, precision) == pytest.approx(expected)
    assert graph_cost(graph, Precision.DYNAMIC, _results(graph.to_bytes())) > graph_cost(
        graph, Precision.DYNAMIC
    )


def test_int8_at_16_channels_costs_what_8_cost() -> None:
    half, whole, more = (
        convolution_cost(Precision.DYNAMIC, 100, 3, 8, filters) for filters in (8, 16, 17)
    )
    assert half == whole < more


@pytest.mark.slow
def test_a_cost_limit_that_cannot_be_met_fails_and_keeps_the_good_file(
    small_keras: Path, tmp_path: Path
) -> None:
    (good,) = convert(small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path)
    (dear,) = convert(
        small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path, max_latency=0.01
    )
    assert good.report.passed
    assert not dear.report.passed
    assert "of the float32 file's, above the limit of 0.01" in dear.report.failure
    assert good.path.is_file()
    with pytest.raises(InputError, match="a ratio above 0"):
        convert(small_keras, quant=["int8"], size=(32, 64), max_latency=0)


@pytest.mark.slow
def test_the_trade_off_is_plotted(small_keras: Path, tmp_path: Path) -> None:
    (made,) = convert(
        small_keras, quant=["int8"], size=(32, 64), output_dir=tmp_path, trade_off=True
    )
    assert len(made.report.mixed_precision["trials"]) > 1
    picture = cv2.imread(str(tmp_path / "small_int8.trade_off.png"))
    assert picture.shape[1] > 500
    assert np.ptp(picture) > 200


@pytest.mark.slow
def test_a_skipped_pass_changes_nothing_and_is_not_reported(tmp_path: Path) -> None:
    small_model().save(tmp_path / "small.keras")
    (with_it, without) = (
        convert(
            tmp_path / "small.keras",
            quant=["float32"],
            size=(32, 64),
            output_dir=tmp_path,
            skip_passes=skip,
        )[0].report
        for skip in ((), ("instance-norm",))
    )
    assert with_it.passes == [
        {"name": "instance-norm", "changes": "instance norms written in one form", "count": 1}
    ]
    assert without.passes == []
    assert without.operators != with_it.operators
    with pytest.raises(InputError, match="skip_passes='speed' is unknown; choose from"):
        convert(tmp_path / "small.keras", size=(32, 64), skip_passes=["speed"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_trial_with_non_finite_output_is_never_chosen(
    value: float, float32: bytes, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [rng.random((64, 96, 3), np.float32) for _ in range(2)]
    run, first = TfliteModel.run, []

    def broken(model: TfliteModel, photo: np.ndarray) -> np.ndarray:
        first.append(model)
        output = run(model, photo).copy()
        if model is not first[0] and photo is photos[1]:  # the float32 file runs first
            output[4, 4] = value
        return output

    monkeypatch.setattr(TfliteModel, "run", broken)
    result = search(float32, photos, SearchConstraints(min_psnr_db=20.0))
    assert not result.constraints_met
    assert {trial.psnr_db_worst for trial in result.trials} == {0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_with_non_finite_output_is_refused(
    value: float, float32: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TfliteModel, "run", lambda *_: np.full((64, 96, 3), value, np.float32))
    with pytest.raises(InputError, match="has NaN or infinity"):
        search(float32, [np.zeros((64, 96, 3), np.float32)], SearchConstraints())


@pytest.mark.parametrize("filters", [8, 32])
def test_what_a_float_convolution_reads_is_in_int8(filters: int, tmp_path: Path, photos) -> None:
    """With 8 filters the one in float is grouped, and with 32 it is not."""
    x = photo = keras.Input((64, 96, 3))
    for _ in range(4):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    x = keras.layers.Conv2D(3, 3, padding="same")(x)
    path = tmp_path / "chain.keras"
    keras.Model(photo, x).save(path)
    files = static_range(lower(read_model(path).at(64, 96)), photos)
    for name in files.convolutions:
        graph = Graph(files.build({name}).content)
        kinds = [
            graph.tensors[operator.outputs[0]].type
            for operator in graph.operators
            if graph.opcode(operator) == Op.CONV_2D
        ]
        assert kinds.count(TensorType.FLOAT32) == 1, name
        assert kinds.count(TensorType.INT8) == len(files.convolutions) - 1
