"""The build's negative controls: what must not get into an APK ends the build."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from offline_build import fetch, kotlin, verify
from offline_build.assets import LISTING, MODELS, SHIPPED, converted, shipped
from offline_build.errors import OFFLINE, BuildError
from offline_build.min_sdk import Library, parse_class, too_new

ELF_HEADER = 64


def test_the_apk_holds_what_it_should(built: Path) -> None:
    contents = verify.look(built / "bokeh-demo.apk")
    report = json.loads((built / "report.json").read_text())
    verify.check(contents, report["assets"], [])
    listed = {SHIPPED[name]: digest for name, digest in fetch.expected_hashes(LISTING).items()}
    assert contents.models == listed
    assert contents.package == "io.github.bokehtflite"
    assert (contents.min_sdk, contents.target_sdk) == (29, 35)
    assert set(contents.natives) == {"arm64-v8a", "armeabi-v7a", "x86", "x86_64"}
    assert set(contents.alignment.values()) == {4096}  # the README says so
    assert contents.permissions == []
    assert report["sha256"] == contents.sha256
    assert report["tests_passed"] >= 52


def test_models_lie_in_the_apk_as_they_are(built: Path) -> None:
    with zipfile.ZipFile(built / "bokeh-demo.apk") as apk:
        for entry in apk.infolist():
            if entry.filename.endswith((".tflite", ".so")):
                assert entry.compress_type == zipfile.ZIP_STORED, entry.filename
        shipped = (MODELS / "demo_pynet_int8.tflite").read_bytes()
        assert apk.read("assets/models/int8.tflite") == shipped


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_tampered_apk_does_not_verify(share: float, built: Path, tmp_path: Path) -> None:
    content = bytearray((built / "bokeh-demo.apk").read_bytes())
    content[int(len(content) * share)] ^= 1
    tampered = tmp_path / "tampered.apk"
    tampered.write_bytes(content)
    with pytest.raises(BuildError, match="apksigner verify failed"):
        verify.look(tampered)


def test_altered_weights_end_the_build(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(MODELS, models)
    altered = bytearray((models / "demo_pynet_int8.tflite").read_bytes())
    altered[len(altered) // 2] ^= 1
    (models / "demo_pynet_int8.tflite").write_bytes(altered)
    with pytest.raises(BuildError, match=r"demo_pynet_int8.tflite: its weights are not those"):
        shipped(models)
    (models / "demo_pynet_int8.tflite").unlink()
    with pytest.raises(BuildError, match=r"is missing; make models"):
        shipped(models)


def test_the_app_may_carry_another_conversion(tmp_path: Path) -> None:
    folder, work = tmp_path / "out", tmp_path / "work"
    folder.mkdir()
    with pytest.raises(BuildError, match=r"has 0 reference packs .* output folder of one conver"):
        converted(folder)
    shutil.copy(MODELS / "demo_pynet.reference.npz", folder / "mine.reference.npz")
    with pytest.raises(BuildError, match=r"has no mine_float16\.tflite, which the app needs"):
        converted(folder)
    for scheme in ("float16", "int8"):
        shutil.copy(MODELS / f"demo_pynet_{scheme}.tflite", folder / f"mine_{scheme}.tflite")
    hashes = converted(folder).write(work)
    assert list(hashes) == [
        f"models/{name}"
        for name in ("float16.tflite", "int8.tflite", "reference.bin", "reference.json")
    ]
    assert (work / "models/int8.tflite").read_bytes() == (folder / "mine_int8.tflite").read_bytes()
    shutil.copy(MODELS / "demo_pynet.reference.npz", folder / "other.reference.npz")
    with pytest.raises(BuildError, match="has 2 reference packs"):
        converted(folder)
    (folder / "mine.reference.npz").unlink()
    with np.load(folder / "other.reference.npz") as pack:
        deep = {**pack, "inputs": np.concatenate([pack["inputs"]] * 2, axis=-1)[..., :4]}
    np.savez(folder / "other.reference.npz", **deep)
    shutil.copy(folder / "mine_float16.tflite", folder / "other_float16.tflite")
    with pytest.raises(BuildError, match="takes 4 channels, and the app feeds it RGB photos"):
        converted(folder)


def test_a_download_of_another_hash_is_refused_and_removed(tmp_path: Path) -> None:
    (tmp_path / "tool.jar").write_bytes(b"not the tool")
    with pytest.raises(BuildError, match="not the pinned"):
        fetch.check_hashes(tmp_path, {"tool.jar": "0" * 64})
    assert not (tmp_path / "tool.jar").exists()


def test_a_file_that_is_listed_and_not_downloaded_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"tool.jar: no pom.xml downloads it"):
        fetch.check_hashes(tmp_path, {"tool.jar": "0" * 64})


def test_a_file_that_is_downloaded_and_not_listed_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "robolectric").mkdir()
    (tmp_path / "robolectric/tool.jar").write_bytes(b"any")
    with pytest.raises(BuildError, match=r"tool.jar: is not in dependencies.sha256"):
        fetch.check_hashes(tmp_path, {})


def test_the_list_of_hashes_names_what_the_poms_ask_for() -> None:
    """What Maven resolves for Robolectric besides is held to the list by each fresh build."""
    listed = fetch.expected_hashes()
    artifact = re.compile(
        r"<artifactId>([\w-]+)</artifactId><version>([^<]+)</version>(?:<type>(\w+)</type>)?"
    )
    pom = (OFFLINE / "pom.xml").read_text(encoding="utf-8")
    items = artifact.findall(pom)
    asked = {f"{name}-{version}.{kind or 'jar'}" for name, version, kind in items}
    assert len(asked) == pom.count("<artifactItem>")
    package, _, version = fetch.NPM_PACKAGE.partition("@")
    asked.add(f"{package}-{version}.tgz")
    assert {name for name in listed if "/" not in name} == asked


def test_another_list_has_another_folder_of_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fetch.cache()
    longer = tmp_path / fetch.LISTING.name
    longer.write_text(fetch.LISTING.read_text() + f"{'0' * 64}  more.jar\n")
    monkeypatch.setattr(fetch, "LISTING", longer)
    assert fetch.cache().parent == before.parent
    assert fetch.cache() != before


@pytest.fixture
def contents() -> verify.Contents:
    return verify.Contents(
        package="a", version="1", min_sdk=29, target_sdk=35, permissions=[],
        natives=dict.fromkeys(("arm64-v8a", "armeabi-v7a", "x86", "x86_64"), 1), alignment={},
        models={"a.tflite": "ab"}, sizes={}, size_bytes=1, sha256="", signed_by=["v3"],
        mapped=["resources.arsc", "assets/models/a.tflite"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"permissions": ["android.permission.CAMERA"]}, "asks for android.permission.CAMERA"),
        ({"natives": {"arm64-v8a": 1}}, "lacks natives for armeabi-v7a, x86, x86_64"),
        ({"models": {"a.tflite": "cd"}}, "models are not those that were written"),
        ({"models": {}}, "models are not those that were written"),
        ({"signed_by": ["v1"]}, "not signed by scheme v3"),
        ({"mapped": ["assets/models/a.tflite"]}, "has resources.arsc compressed or unaligned"),
        ({"mapped": ["resources.arsc"]}, "has assets/models/a.tflite compressed or unaligned"),
    ],
)
def test_an_apk_that_is_not_as_it_should_be_ends_the_build(
    change: dict[str, object], said: str, contents: verify.Contents
) -> None:
    verify.check(contents, {"models/a.tflite": "ab"}, [])
    wrong = dataclasses.replace(contents, **change)  # type: ignore[arg-type]
    with pytest.raises(BuildError, match=said):
        verify.check(wrong, {"models/a.tflite": "ab"}, [])


def test_a_call_above_the_oldest_android_is_found(built: Path, tmp_path: Path) -> None:
    downloads = fetch.cache()
    source = tmp_path / "source"
    source.mkdir()
    (source / "Calls.kt").write_text(
        """
        class Calls { fun name(): String = android.os.Build.SOC_MODEL }
        class CallsApi31 { fun name(): String = android.os.Build.SOC_MODEL }
        class Old(context: android.content.Context) {
            val text: String = context.packageName + android.os.Build.MODEL
        }
        class Newer(view: android.view.View) { init { view.setRenderEffect(null) } }
        """
    )
    newest = next(downloads.glob("android-all-15-*.jar"))
    classpath = [kotlin.one(downloads, "kotlin-stdlib"), newest]
    output = tmp_path / "classes"
    kotlin.compile_kotlin(
        "a test", downloads, [source], classpath, output, options=kotlin.FOR_ANDROID
    )
    found = too_new(output, Library(next(downloads.glob("android-all-10-*.jar"))))
    assert [line.split("(")[0] for line in found] == [
        "Calls calls android.os.Build.SOC_MODELLjava/lang/String;",
        "Newer calls android.view.View.setRenderEffect",
    ]


def test_javas_library_is_offered_up_to_java_8_alone(built: Path, tmp_path: Path) -> None:
    downloads = fetch.cache()
    source = tmp_path / "source"
    source.mkdir()
    (source / "Newer.kt").write_text("fun newer(): List<Int> = java.util.List.of(1, 2)")
    with pytest.raises(BuildError, match="compiling a test failed"):
        kotlin.compile_kotlin(
            "a test", downloads, [source], [kotlin.one(downloads, "kotlin-stdlib")],
            tmp_path / "classes", options=kotlin.FOR_ANDROID,
        )  # fmt: skip


def test_a_class_file_says_its_name_ancestors_and_members(built: Path) -> None:
    path = built / "work/core/io/github/bokehtflite/core/DelegateException.class"
    parsed = parse_class(path.read_bytes())
    assert parsed.name == "io/github/bokehtflite/core/DelegateException"
    assert parsed.ancestors == ("java/lang/Exception",)
    assert ("<init>", "(Ljava/lang/String;)V") in parsed.own


def test_the_alignment_of_an_elf_file_is_its_smallest_segments() -> None:
    def segment(kind: int, alignment: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 0, 0, 0, 0, 0, 0, alignment)

    header = bytearray(ELF_HEADER)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", header, 32, ELF_HEADER)
    struct.pack_into("<HH", header, 54, 56, 3)
    library = bytes(header) + segment(1, 16384) + segment(2, 8) + segment(1, 4096)
    assert verify.load_alignment(library) == 4096
