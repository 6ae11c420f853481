"""What lies in the folder of downloads beside the pinned files is not taken."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from offline_build import fetch, kotlin
from offline_build.errors import BuildError


def test_another_version_in_the_cache_is_not_taken(tmp_path: Path) -> None:
    (pinned,) = (name for name in fetch.expected_hashes() if name.startswith("kotlin-stdlib-"))
    for name in ("kotlin-stdlib-0.1.0.jar", "kotlin-stdlib-99.0.jar"):
        (tmp_path / name).touch()
    with pytest.raises(BuildError, match="holds no kotlin-stdlib as pinned"):
        kotlin.one(tmp_path, "kotlin-stdlib")
    (tmp_path / pinned).touch()
    assert kotlin.one(tmp_path, "kotlin-stdlib") == tmp_path / pinned


def test_the_bundletool_is_that_of_the_pinned_package(tmp_path: Path) -> None:
    for version, content in (("0.0.1", b"older"), (fetch.NPM_PACKAGE.partition("@")[2], b"pinned")):
        with tarfile.open(tmp_path / f"nativescript-{version}.tgz", "w:gz") as archive:
            entry = tarfile.TarInfo("package/vendor/aab-tool/bundletool.jar")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    (tmp_path / fetch.BUNDLETOOL).write_bytes(b"of another build")
    fetch._unpack_bundletool(tmp_path)
    assert (tmp_path / fetch.BUNDLETOOL).read_bytes() == b"pinned"
