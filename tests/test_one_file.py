"""What the page on the architecture promises: each of five kinds of parts is added by one file.

Each test adds such a file, changes nothing else, and finds the part where a user meets it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

import bokeh_bench.devices
import bokeh_convert
import bokeh_convert.sources.formats
import bokeh_convert.targets
import bokeh_runtime.metrics
from bokeh_bench.cli import main as bench
from bokeh_bench.devices import devices, find_device
from bokeh_bench.measure.fidelity import measure_fidelity
from bokeh_bench.measure.references import ReferenceSample
from bokeh_bench.measure.rows import ModelFile, Report, Row
from bokeh_bench.report.console import markdown
from bokeh_bench.report.html import write_html
from bokeh_convert.cli import main as convert
from bokeh_convert.quantize.schemes import SCHEMES
from bokeh_convert.report import fidelity_summary, metadata_fidelity
from bokeh_convert.sources import read_model
from bokeh_convert.targets import targets
from bokeh_convert.verify.verification import FidelityLimits
from bokeh_runtime import InputError
from bokeh_runtime.metrics.fidelity import Fidelity, compare
from bokeh_runtime.metrics.registry import conversion_metrics
from helpers.added_module import added_module
from helpers.schemas import check_format

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
DATA = ROOT / "tests/data"

HIGHLIGHTS = '''
    """The error of highlights: RMS in 1/255, where the reference is bright."""
    import numpy as np
    from bokeh_runtime.metrics.registry import Metric

    def highlights(image, reference):
        bright = reference.mean(axis=2) > 0.5
        return float(np.sqrt(np.mean((image - reference)[bright] ** 2)) * 255)

    METRIC = Metric(
        "highlights", "highlights", highlights,
        higher_is_better=False, text_format="{:.1f}/255", has_worst=True, limit=20.0,
    )
'''
FORMAT = '''
    """Files of a format of a test."""

    def recognizes(source):
        return source.start.startswith(b"TOYMODEL")

    def read(path, options):
        from bokeh_runtime import InputError
        raise InputError(f"{path}: was recognized as a toy")
'''
TARGET = '''
    """A target of a test."""
    from bokeh_convert.targets import Rule, Target

    TARGET = Target(
        "toaster", "a kitchen appliance", ("full-integer", "float32"),
        (Rule("refuses", "burns", "a kitchen", {"TANH"}), Rule("takes", "", "a kitchen")),
        passes=("space-to-depth",),
    )
'''
DEVICE = '''
    """A device of a test."""
    from dataclasses import replace
    from bokeh_bench.devices import Device

    def _measure(options, report, full_model, progress):
        from bokeh_bench.measure.rows import ModelFile, Row
        progress("measuring")
        row = Row(ModelFile(options.model_paths[0].name), "cpu", device=options.device_argument)
        yield replace(report, rows=[row])

    DEVICE = Device("toaster", "a kitchen appliance", _measure, argument="SLOT")
'''


def test_the_page_names_one_file_for_each() -> None:
    table = PAGE.split("## Where to add things")[1].split("## ")[0]
    answers = dict(re.findall(r"^\| (a [^|]*?) \| ([^|]*?) \|", table, re.MULTILINE))
    for part, place in {
        "a source format": "convert/bokeh_convert/sources/formats/",
        "a quantization scheme": "convert/bokeh_convert/quantize/schemes.py",
        "a quality metric": "runtime/bokeh_runtime/metrics/",
        "a device to benchmark": "benchmarks/bokeh_bench/devices/",
        "a target of a conversion": "convert/bokeh_convert/targets/",
    }.items():
        paths = [path for path in re.findall(r"`([^`]+)`", answers[part]) if "/" in path]
        assert paths == [place]
        assert (ROOT / place).exists()


def test_a_source_format(tmp_path: Path) -> None:
    toy, module = tmp_path / "model.h5", tmp_path / "module"
    toy.write_bytes(b"TOYMODEL and its weights")
    module.mkdir()
    with pytest.raises(InputError, match="neither HDF5"):
        read_model(toy)
    with (
        added_module(bokeh_convert.sources.formats, "toy", FORMAT, module),
        pytest.raises(InputError, match="was recognized as a toy"),
    ):
        read_model(toy)


def test_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"toaster:2: use android\[:SERIAL\], arm64\[:PROFILE\], host or web"
    ):
        find_device("toaster:2")
    with added_module(bokeh_bench.devices, "toaster", DEVICE, tmp_path):
        assert [*devices()] == ["android", "arm64", "host", "toaster", "web"]
        with pytest.raises(InputError, match=r"host, toaster\[:SLOT\] or web\[:COUNT\]"):
            find_device("oven")
        refused = CliRunner().invoke(bench, ["a.tflite", "--device=toaster", "--dataset=x"])
        assert refused.exit_code == 2
        assert "--device toaster runs the reference photos only" in refused.output
        assert CliRunner().invoke(bench, ["a.tflite", "--device=toaster:2"]).exit_code == 0
    (row,) = json.loads((tmp_path / "bench/report.json").read_text(encoding="utf-8"))["rows"]
    assert row["name"] == "a.tflite, cpu on 2"


@pytest.mark.slow
def test_a_target(tmp_path: Path) -> None:
    def run() -> Result:
        model, folder = DATA / "keras2_moments.h5", tmp_path / "out"
        options = ["--size=64x96", "--target=toaster", f"--output-dir={folder}", "--json"]
        return CliRunner().invoke(convert, [str(model), *options])

    (tmp_path / "module").mkdir()
    with added_module(bokeh_convert.targets, "toaster", TARGET, tmp_path / "module"):
        done = run()
    assert done.exit_code == 0, done.output
    (report,) = json.loads(done.stdout)["conversions"]
    check_format(report)
    assert report["scheme"] == "full-integer"
    assert [each["name"] for each in report["passes"]] == ["space-to-depth", "equalize-channels"]
    (row,) = report["targets"]
    assert (row["target"], row["runs"], row["why"]) == ("toaster", "part", "1 TANH: burns")
    refused = run()
    assert refused.exit_code == 2
    assert "'toaster' is not one of gpu" in refused.output


def test_the_help_lists_the_devices_the_schemes_and_the_targets() -> None:
    for target in targets().values():
        assert f"{target.name} ({target.summary})" in _help_of(convert, "targets")
    for device in devices().values():
        assert f"{device.usage} ({device.summary})" in _help_of(bench, "device")
    for scheme in SCHEMES.values():
        assert f"{scheme.name} ({scheme.summary})" in _help_of(convert, "quant")


def _help_of(command: click.Command, name: str) -> str:
    (option,) = (option for option in command.params if option.name == name)
    assert isinstance(option, click.Option)
    return option.help or ""


@pytest.mark.slow
def test_a_metric(tmp_path: Path, rng: np.random.Generator) -> None:
    reference = np.full((64, 64, 3), 0.75, np.float32)
    reference[:, 32:] = 0.25
    # 0.1 where the reference is dark, which does not count; elsewhere 10/255, then 30/255.
    samples = []
    for number, error in enumerate((10, 30)):
        output = reference + np.float32(0.1)
        output[:, :32] = reference[:, :32] + np.float32(error / 255)
        photo = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        samples.append((ReferenceSample(f"photo {number}", photo, reference), output))
    (tmp_path / "module").mkdir()
    with added_module(bokeh_runtime.metrics, "highlights", HIGHLIGHTS, tmp_path / "module"):
        _check_bench(samples, tmp_path)
        _check_conversion(samples)
    (fidelity,), *_ = measure_fidelity("full_model", iter(samples))
    assert "highlights" not in fidelity.images[0].values


def _check_bench(samples: list[tuple[ReferenceSample, np.ndarray]], folder: Path) -> None:
    (fidelity,), images, _ = measure_fidelity("full_model", iter(samples))
    row = Row(ModelFile("a.tflite"), "cpu", fidelity=[fidelity], sample_images=images)
    report = Report("2030-01-01T00:00:00+00:00", {}, [row])
    data = report.to_data()
    (written,) = data["rows"][0]["fidelity"]
    assert written["highlights_mean"] == pytest.approx(20, abs=1e-3)
    assert written["highlights_worst"] == pytest.approx(30, abs=1e-3)
    assert [image["highlights"] for image in written["images"]] == pytest.approx([10, 30], abs=1e-3)
    check_format(data)
    headings, _, cells = markdown(report).splitlines()[:3]
    assert headings.endswith("| FLIP | grain | worst | highlights | worst |")
    assert cells.endswith("| 20.0/255 | 30.0/255 |")
    write_html(folder / "report.html", report)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<td>20.0/255</td>" in page
    assert "Lower is better: FLIP, grain, highlights." in page


def _check_conversion(samples: list[tuple[ReferenceSample, np.ndarray]]) -> None:
    found = Fidelity(
        [
            compare(
                sample.name, output, sample.reference_output,
                border_px=0, metrics=conversion_metrics(),
            )
            for sample, output in samples
        ]
    )  # fmt: skip
    summary = fidelity_summary(found)
    assert summary["highlights_worst"] == pytest.approx(30, abs=1e-3)
    assert summary["images"][0]["highlights"] == pytest.approx(10, abs=1e-3)
    assert not any("highlights" in key for key in metadata_fidelity(found, emulated=False))
    assert (
        FidelityLimits().shortfall(found)
        == "highlights 30.0/255 of the worst photo (photo 1) is above 20.0/255"
    )
    assert FidelityLimits().shortfall(replace(found, images=found.images[:1])) is None


SCHEME = """
            Scheme(
                "toy",
                "int8 weights of transposed convolutions",
                (Rule(("CONV_2D_TRANSPOSE",), Weights(8)),),
            ),
"""


@pytest.fixture
def with_a_scheme(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has a copy of the converter with one more scheme."""
    copy = tmp_path / "bokeh_convert"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(bokeh_convert.__file__).parent, copy, ignore=ignore)
    path = copy / "quantize/schemes.py"
    source = path.read_text(encoding="utf-8")
    last = '            Scheme(\n                "full-integer"'
    assert source.count(last) == 1
    path.write_text(source.replace(last, SCHEME.lstrip("\n") + last), encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def _run(code: str, environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_scheme_is_an_option_before_anything_large_is_imported(
    with_a_scheme: dict[str, str], tmp_path: Path
) -> None:
    code = """
        import sys
        from bokeh_convert.cli import main
        from bokeh_convert.options import SCHEME_NAMES
        quant = next(option for option in main.params if option.name == "quant")
        print(*SCHEME_NAMES, quant.help, sep="\\n")
        print({"tensorflow", "keras", "litert_quantizer", "ai_edge_litert"} & sys.modules.keys())
    """
    lines = _run(code, with_a_scheme, tmp_path).splitlines()
    assert lines[:7] == [
        "float32", "float16", "dynamic", "int8", "int16x8", "toy", "full-integer",
    ]  # fmt: skip
    assert "toy (int8 weights of transposed convolutions)" in lines[7]
    assert lines[8] == "set()"


@pytest.mark.slow
def test_a_scheme_converts(with_a_scheme: dict[str, str], tmp_path: Path) -> None:
    code = f"""
        from bokeh_convert import convert
        (made,) = convert({str(DATA / "keras2_moments.h5")!r}, quant=["toy"], size=(64, 96))
        print(made.report.scheme, made.path.name, made.report.passed)
    """
    assert _run(code, with_a_scheme, tmp_path).split() == [
        "toy", "keras2_moments_toy.tflite", "True",
    ]  # fmt: skip
