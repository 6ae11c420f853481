"""The pages' sources: the copy of the contract, the types, and their own tests; the build."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from bokeh_runtime.backends.delegates import EngineOptions
from bokeh_runtime.errors import InputError
from bokeh_runtime.shipped_models import SHIPPED_MODELS, shipped_model
from bokeh_runtime.tflite.file import read_tflite
from bokeh_runtime.tflite.metadata import metadata_of
from bokeh_runtime.tflite.reference_pack import find_reference
from bokeh_runtime.tflite.value_range import ValueRange
from bokeh_runtime.web import pages
from bokeh_runtime.web.site import demo_site, export_site, site_model, tensor_info
from helpers.browsers import need_pages

WEB = Path(__file__).parents[2] / "web"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"web_{name}", WEB / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_copy_of_the_contract_is_up_to_date() -> None:
    contract = program("contract")
    assert contract.TARGET.read_text(encoding="utf-8") == contract.javascript(), (
        "call python web/contract.py"
    )


@pytest.mark.slow
def test_javascript_keeps_the_contract() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js")
    tests = sorted((WEB / "tests").glob("*.test.js"))
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *map(str, tests)],
        capture_output=True,
        text=True,
        check=False,
        cwd=WEB,
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 0" not in done.stdout


@pytest.mark.slow
def test_the_types_hold() -> None:
    if shutil.which("node") is None or not (WEB / "node_modules").exists():
        pytest.skip("the web pages are not built (make web)")
    checker = WEB / "node_modules/typescript/bin/tsc"
    done = subprocess.run(
        ["node", str(checker)], capture_output=True, text=True, check=False, cwd=WEB
    )
    assert done.returncode == 0, done.stdout


def test_what_npm_installs_is_pinned_by_version_and_hash() -> None:
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))["packages"]
    direct = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert all(version[0].isdigit() for version in direct.values())
    for name, entry in lock.items():
        assert not name or entry["integrity"].startswith("sha512-"), name
    assert {f"node_modules/{name}" for name in direct} <= set(lock)


def test_the_build_is_of_these_sources_and_carries_the_licence() -> None:
    need_pages()
    folder = pages.find_pages().folder
    about = json.loads((folder.parent / "about.json").read_text("utf-8"))
    assert about["sources"] == program("build").sources_digest(), "make web"
    assert "Apache License" in (folder / "litert/LICENSE").read_text("utf-8")
    assert "LiteRT.js" in (folder / "litert/NOTICE").read_text("utf-8")


def test_pages_that_are_not_there_or_of_another_version_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_BUILT", tmp_path)
    monkeypatch.setattr(pages, "PACKAGE", "no_such_package_of_pages")
    with pytest.raises(InputError, match=r"not installed; pip install the wheel"):
        pages.find_pages()
    about = tmp_path / "about.json"
    about.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        pages.find_pages()
    about.write_text('{"version": "0.0.0", "litert": "1"}')
    with pytest.raises(InputError, match=r"of version 0\.0\.0"):
        pages.find_pages()


def test_a_site_replaces_the_files_of_an_earlier_site_alone(tmp_path: Path, data: Path) -> None:
    need_pages()
    folder, models = tmp_path / "site", [shipped_model()]
    assert export_site([data / "small_int8.tflite"], folder) == folder / "index.html"
    (folder / ".git").mkdir()
    own = {".git/config": "of the host", "CNAME": "bokeh.example"}
    for name, text in own.items():
        (folder / name).write_text(text)
    export_site(models, folder)
    written = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert written == {*demo_site(models, offline=True), *own}
    assert {name: (folder / name).read_text() for name in own} == own
    assert "bench.html" not in written
    assert [p.name for p in tmp_path.iterdir()] == ["site"]
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("dear")
    with pytest.raises(InputError, match="holds no earlier site"):
        export_site(models, other)
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]


def test_browsers_keep_an_exported_site_and_not_a_served_one(tmp_path: Path) -> None:
    need_pages()
    models = [shipped_model()]
    worker = {"service-worker.js", "site-files.js"}
    served = demo_site(models)
    assert served["site.json"] == b'{"offline": false}'
    assert not worker & set(served)
    exported = export_site(models, tmp_path / "site").parent
    assert json.loads((exported / "site.json").read_text()) == {"offline": True}
    assert worker <= {path.name for path in exported.iterdir()}


def test_a_list_of_files_deletes_nothing_outside_its_site(tmp_path: Path, data: Path) -> None:
    need_pages()
    outside, folder = tmp_path / "thesis.txt", tmp_path / "site"
    outside.write_text("dear")
    folder.mkdir()
    listed = json.dumps({"version": "1", "files": ["../thesis.txt", str(outside)]})
    (folder / "site-files.js").write_text(f"self.SITE = {listed};\n")
    export_site([data / "small_int8.tflite"], folder)
    assert outside.read_text() == "dear"
    (folder / "site-files.js").write_text("self.SITE = 1;")
    with pytest.raises(InputError, match="is damaged"):
        export_site([data / "small_int8.tflite"], folder)


def test_another_model_has_another_address(data: Path) -> None:
    need_pages()
    first, second = (
        {name for name in demo_site([path]) if name.endswith(".tflite")}
        for path in (data / "small_int8.tflite", shipped_model())
    )
    assert len(first) == len(second) == 1
    assert first != second


def test_a_page_takes_value_ranges_and_refuses_what_browsers_do_not_run(data: Path) -> None:
    file = data / "small_int8.tflite"
    asked = EngineOptions(input_range=ValueRange(-1, 1), output_range=ValueRange(0, 255))
    _, about = site_model(file, asked)
    assert (about["input_range"], about["output_range"]) == ([-1, 1], [0, 255])
    brighten, enhance = (
        site_model(data / "foreign/three_signatures.tflite", EngineOptions(signature=name))[0]
        for name in ("brighten", "enhance")
    )
    assert brighten != enhance
    with pytest.raises(InputError, match="has int8 images, and browsers take float32 and uint8"):
        site_model(data / "foreign/int8_signed.tflite")
    with pytest.raises(InputError, match=r"its input size is open.*--size 256x384"):
        site_model(data / "foreign/open_x2.tflite")


def test_integers_without_a_scale_are_taken_as_they_are(data: Path) -> None:
    tensor = read_tflite(data / "foreign/uint8_bytes.tflite").tensors[0]
    assert tensor_info(replace(tensor, quantization=(0.0, 0)))["scale"] == 1


def test_the_page_gets_what_a_gpus_picture_is_compared_with(tmp_path: Path) -> None:
    need_pages()
    site = demo_site([shipped_model(name) for name in SHIPPED_MODELS])
    described = json.loads(bytes(site["models.json"]))  # type: ignore[arg-type]
    for name, about in zip(SHIPPED_MODELS, described, strict=True):
        file = read_tflite(shipped_model(name))
        assert (about["total_ops"], about["float_sums"]) == (len(file.operators), True)
        reference = find_reference(shipped_model(name), metadata_of(file))
        assert reference is not None
        if "student" in name:  # the pack is its teacher's
            assert about["reference"] is None
            continue
        content = site[about["reference"]]
        assert content == reference.inputs[0].tobytes() + reference.outputs[0].tobytes()
    alone = shutil.copy(shipped_model(), tmp_path / "alone.tflite")
    (about,) = json.loads(bytes(demo_site([Path(alone)])["models.json"]))  # type: ignore[arg-type]
    assert about["reference"] is None
