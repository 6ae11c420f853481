from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from bokeh_bench.cli import main
from bokeh_bench.devices.arm64 import guest, probes
from bokeh_bench.devices.arm64.measure import measure
from bokeh_bench.devices.arm64.profiles import (
    CORTEX_A76,
    DEFAULT_PROFILE,
    NEOVERSE_N2,
    PROFILES,
    Profile,
    find_profile,
)
from bokeh_bench.devices.arm64.runner import FOLDER, ArmRun, ArmRunner
from bokeh_convert.graph.cost_model import Precision
from bokeh_convert.graph.editor import Graph
from bokeh_convert.graph.to_tflite import lower
from bokeh_convert.passes import FOR_EVERY_SCHEME
from bokeh_convert.passes.apply import apply_passes
from bokeh_convert.passes.group_pixels import group_pixels
from bokeh_convert.quantize.engine import quantize
from bokeh_convert.quantize.fp16_arithmetic import allow_fp16_arithmetic, emulate_fp16_arithmetic
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.sources import read_model
from bokeh_runtime import InputError, TfliteModel
from bokeh_runtime.tflite.reference_pack import Reference, save_reference
from bokeh_runtime.tflite.value_range import UNIT_RANGES, ImageRanges
from helpers import commands

ENVIRONMENT = Path(__file__).parents[2] / FOLDER
needs_arm64 = pytest.mark.skipif(not (ENVIRONMENT / "count.so").exists(), reason="no ARM kernels")


@pytest.fixture
def pack(data: Path, tmp_path: Path) -> Path:
    """Two photos: one with Keras's output, and its mirror image with the float16 file's output."""
    with np.load(data / "keras2_moments.npz") as file:
        photo, bokeh = np.round(file["photo"][0] * 255).astype(np.uint8), file["bokeh"][0]
    model = TfliteModel((data / "tiny_float16.tflite").read_bytes(), threads=1)
    mirrored = photo[:, ::-1].copy()
    outputs = [np.clip(bokeh, 0, 1), np.clip(model.run(mirrored / np.float32(255)), 0, 1)]
    save_reference(tmp_path / "tiny.npz", Reference(["a", "b"], [photo, mirrored], outputs))
    return tmp_path / "tiny.npz"


@pytest.mark.parametrize("name", ["tiny_float16", "tiny_integer"])
def test_the_guest_computes_what_the_host_computes(
    name: str, data: Path, tmp_path: Path, rng
) -> None:
    photos = rng.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    np.save(tmp_path / "in.npy", photos)
    paths = (data / f"{name}.tflite", tmp_path / "in.npy", tmp_path / "out.npy")
    subprocess.run(
        [sys.executable, guest.__file__, *paths, "0", "1"], check=True, capture_output=True
    )
    host = TfliteModel(paths[0].read_bytes(), threads=1)
    expected = [host.run(photo / np.float32(255)) for photo in photos]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-6)


class CountingRunner:
    """Outputs black; counts 1000 to start and 70 for each photo."""

    profile = DEFAULT_PROFILE

    def run(self, content: bytes, inputs: np.ndarray, _: ImageRanges = UNIT_RANGES) -> ArmRun:
        if content == b"broken":
            raise RuntimeError("the model does not run on cortex-a76: Segmentation fault")
        photos = len(inputs)
        return ArmRun(np.full((photos, 8, 8, 3), -0.5, np.float32), 1000 + 70 * photos)


def reference(photos: int) -> Reference:
    inputs = [np.zeros((8, 8, 3), np.uint8)] * photos
    outputs = [np.full((8, 8, 3), 0.1 * (i + 1), np.float32) for i in range(photos)]
    return Reference([str(i) for i in range(photos)], inputs, outputs)


def test_start_is_not_counted_and_pictures_are_clipped(tmp_path: Path) -> None:
    (tmp_path / "black.tflite").write_bytes(b"any")
    (row,) = measure([tmp_path / "black.tflite"], reference(3), CountingRunner(), print)
    assert (row.instructions, row.instructions_ratio) == (70, 1)
    # Errors of 0.1, 0.2 and 0.3: 20.0, 13.98 and 10.46 dB.
    # Mean squared errors of 0.01, 0.04 and 0.09: together 0.0467.
    assert (row.psnr_db_mean, row.psnr_db_pooled, row.psnr_db_worst) == (14.8, 13.3, 10.5)


def test_plain_arm64_is_the_default_profile_and_others_go_by_name() -> None:
    assert find_profile(None) is CORTEX_A76
    assert [find_profile(name).name for name in PROFILES] == list(PROFILES)
    with pytest.raises(InputError, match="arm64:m4: use arm64:cortex-a76 or arm64:neoverse-n2"):
        find_profile("m4")


def test_an_unknown_profile_is_one_line(data: Path, tmp_path: Path) -> None:
    done = commands.command(
        "bokeh-bench", data / "small_float32.tflite", "--device=arm64:m4", cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.startswith("bokeh-bench: --device arm64:m4: use arm64:cortex-a76 or")
    assert done.stderr.count("\n") == 1


def test_profiles_without_instructions_to_count_are_refused() -> None:
    done = CliRunner().invoke(main, ["study", "conversion", "--profile", "neoverse-n2"])
    assert done.exit_code == 2
    assert "--profile needs --arm64" in done.output


def run_three_more(content: bytes, inputs: np.ndarray, profile: Profile) -> tuple[int, np.ndarray]:
    """Instructions for the last three of four images, and the outputs for all.

    The interpreter's start varies by a million instructions from run to run, so that a network
    should take tens of millions for the three images.
    """
    runner = ArmRunner(ENVIRONMENT, profile)
    one, more = (runner.run(content, part) for part in (inputs[:1], inputs))
    return more.instructions - one.instructions, more.outputs


@needs_arm64
def test_with_i8mm_an_int8_convolution_takes_fewer_instructions(rng) -> None:
    content = probes.made(Precision.STATIC, probes.convolution(3, 128, 128, (48, 64)))
    inputs = rng.integers(0, 256, (4, 48, 64, 128), dtype=np.uint8)
    older, newer = (
        run_three_more(content, inputs, profile)[0] for profile in (CORTEX_A76, NEOVERSE_N2)
    )
    assert newer < 0.75 * older


@needs_arm64
def test_grouped_pixels_save_instructions_of_half_precision(rng) -> None:
    float32 = probes.made(Precision.FLOAT32, probes.convolution(9, 16, 8, (48, 64)))
    graph = Graph(float32)
    assert group_pixels(graph, Precision.HALF) == 1
    inputs = rng.integers(0, 256, (4, 48, 64, 16), dtype=np.uint8)
    (alone, expected), (grouped, outputs) = (
        run_three_more(
            allow_fp16_arithmetic(quantize(content, SCHEMES["float16"])), inputs, CORTEX_A76
        )
        for content in (float32, graph.to_bytes())
    )
    assert grouped < 0.7 * alone
    np.testing.assert_allclose(outputs, expected, atol=0.01 * np.abs(expected).max())


@needs_arm64
def test_the_emulation_of_half_precision_has_errors_as_large_as_the_kernels(
    tmp_path: Path, rng
) -> None:
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 24, 3))
    x = inputs
    for _ in range(4):
        x = keras.layers.Conv2D(64, 3, padding="same", kernel_initializer="he_normal")(x)
        x = keras.layers.LeakyReLU(0.2)(x)
    outputs = keras.layers.Conv2D(3, 3, padding="same")(x)
    keras.Model(inputs, outputs).save(tmp_path / "chain.keras")
    file = quantize(lower(read_model(tmp_path / "chain.keras").at(16, 24)), SCHEMES["float16"])
    photos = rng.integers(0, 256, (1, 16, 24, 3), dtype=np.uint8)
    exact, emulated = (
        TfliteModel(content, threads=1).run(photos[0] / np.float32(255))
        for content in (file, emulate_fp16_arithmetic(file))
    )
    on_arm = ArmRunner(ENVIRONMENT, CORTEX_A76).run(allow_fp16_arithmetic(file), photos).outputs[0]
    ratio = np.std(emulated - exact) / np.std(on_arm - exact)
    assert 0.6 < ratio < 1.7


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    for file, photos, cause in (
        ("broken.tflite", 2, r"broken\.tflite: the model does not run"),
        ("none.tflite", 2, r"none\.tflite: cannot be read"),
        ("broken.tflite", 1, "has only one photo"),
    ):
        with pytest.raises(InputError, match=cause):
            measure([tmp_path / file], reference(photos), CountingRunner(), print)


def test_without_the_environment_the_exit_code_is_3(data: Path, pack: Path, tmp_path: Path) -> None:
    arguments = ["study", "arm64", str(data / "tiny_float16.tflite"), "--pack", str(pack)]
    done = CliRunner().invoke(main, [*arguments, "--environment", str(tmp_path)])
    assert done.exit_code == 3
    assert done.output == (
        f"bokeh-bench: {tmp_path}: no ARM environment; set it up with: make arm64 (in a "
        "checkout of bokeh-tflite), or python -m bokeh_bench.devices.arm64.environment "
        f"{tmp_path}\n"
    )


@pytest.mark.parametrize(
    ("content", "cause"), [(None, "no such file"), (b"PK\3\4", "is not a reference pack")]
)
def test_what_is_no_pack_is_refused(content: bytes | None, cause: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "pack.npz").write_bytes(content)
    done = CliRunner().invoke(
        main, ["study", "arm64", "a.tflite", "--pack", str(tmp_path / "pack.npz")]
    )
    assert done.exit_code == 2
    assert cause in done.output


def _half_precision_norm(gain: float, epsilon: float) -> bytes:
    """A convolution and an instance norm of its own, as a float32 file."""
    filters = gain * np.random.default_rng(0).standard_normal((3, 3, 3, 4)).astype(np.float32)

    def network(photo):
        x = tf.nn.conv2d(photo - 0.5, filters, 1, "SAME")
        mean = tf.reduce_mean(x, (1, 2), keepdims=True)
        variance = tf.reduce_mean(tf.square(x - mean), (1, 2), keepdims=True)
        x = (x - mean) * tf.math.rsqrt(variance + epsilon) * 1.5 + 0.1
        return tf.nn.conv2d(tf.nn.leaky_relu(x, 0.2), np.full((1, 1, 4, 3), 0.1, "f"), 1, "SAME")

    photo = tf.TensorSpec((1, 128, 192, 3), tf.float32)
    concrete = tf.function(network).get_concrete_function(photo)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], network).convert()


@pytest.mark.slow
@needs_arm64
@pytest.mark.parametrize(("gain", "epsilon", "least_db"), [(100, 1e-3, 55), (1e-3, 1e-5, 35)])
def test_on_half_precision_kernels_instance_norm_fails_without_the_pass(
    gain: float, epsilon: float, least_db: float, rng: np.random.Generator
) -> None:
    float32 = _half_precision_norm(gain, epsilon)
    photo = rng.integers(0, 256, (128, 192, 3), dtype=np.uint8)
    expected = TfliteModel(float32, threads=1).run(photo / np.float32(255))
    runner = ArmRunner(ENVIRONMENT)

    def decibels(content: bytes) -> float:
        half = allow_fp16_arithmetic(quantize(content, SCHEMES["float16"]))
        return -10 * np.log10(
            np.mean(np.square(runner.run(half, photo[None]).outputs[0] - expected))
        )

    assert not decibels(float32) > 30  # NaN counts too
    assert decibels(apply_passes(float32, FOR_EVERY_SCHEME).content) > least_db


@pytest.mark.slow
@needs_arm64
def test_files_run_on_arm_kernels(data: Path, pack: Path) -> None:
    file = data / "tiny_float16.tflite"
    done = CliRunner().invoke(
        main,
        [
            "study",
            "arm64",
            str(file),
            "--pack",
            str(pack),
            "--environment",
            str(ENVIRONMENT),
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["instructions"] > 1e6
    assert row["psnr_db_worst"] > 50  # float16 weights, and sums in another order


@pytest.mark.slow
@needs_arm64
def test_bokeh_bench_gives_fidelity_and_instructions_and_never_a_time(
    data: Path, tmp_path: Path
) -> None:
    models = [data / "small_float32.tflite", data / "small_rgbd.tflite"]
    done = commands.command(
        *("bokeh-bench", *models, "--device=arm64:neoverse-n2", f"-o{tmp_path}", "--json"),
        cwd=ENVIRONMENT.parents[1],
    )
    assert done.returncode == 0, done.stderr
    one, other = json.loads(done.stdout)["rows"]
    assert one["device"] == "arm64:neoverse-n2"
    assert one["latency"] is None
    assert one["fidelity"][0]["psnr_db_mean"] > 120
    assert 4e6 < one["instructions"] < 10e6
    assert other["instructions"] > 0
    assert other["fidelity"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("bokeh-bench", "none.tflite", "--device=arm64"),
        ("bokeh-bench", "none.tflite", "--device=android"),
    ],
)
def test_wrong_input_is_reported_before_missing_hardware(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no adb
    done = commands.command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "none.tflite: cannot be read" in done.stderr


def test_a_missing_model_is_reported_before_a_missing_environment(
    pack: Path, tmp_path: Path
) -> None:
    none, nothing = str(tmp_path / "none.tflite"), str(tmp_path / "nothing")
    arguments = ["study", "arm64", none, "--pack", str(pack), "--environment", nothing]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "none.tflite: cannot be read" in done.output


def test_bokeh_bench_without_the_environment_is_exit_code_3(data: Path, tmp_path: Path) -> None:
    done = commands.command(
        "bokeh-bench", data / "small_float32.tflite", "--device=arm64", cwd=tmp_path
    )
    assert done.returncode == 3
    assert "build/arm64: no ARM environment; set it up with: make arm64" in done.stderr
