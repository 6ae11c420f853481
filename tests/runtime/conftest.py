from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime.backends.interpreter import INTERPRETERS, installed_interpreters
from helpers.skips import ELSEWHERE

# A Vulkan driver in software, which Chromium brings (Debian: chromium-common).
SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")

# In .venv-tensorflow-2.16 the tests run with TensorFlow's own interpreter. The runtime offers it to
# nobody: it has the Flex delegate, with which a .tflite file can write files.
if not installed_interpreters():
    INTERPRETERS["tensorflow"] = "tensorflow.lite.python.interpreter"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session", autouse=True)
def software_vulkan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Names the software driver, if the system has no other, before LiteRT looks for one.

    It looks once in a process.
    """
    with pytest.MonkeyPatch.context() as patch:
        if SWIFTSHADER.is_file() and "VK_ICD_FILENAMES" not in os.environ:
            patch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
        if "XDG_RUNTIME_DIR" not in os.environ:
            patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture(scope="session")
def vulkan(software_vulkan: None) -> None:
    """A Vulkan device; skips where there is none."""
    from bokeh_runtime import probe

    if "ai-edge-litert" not in installed_interpreters():
        pytest.skip(f"{ELSEWHERE}the GPU accelerator belongs to ai-edge-litert")
    gpu = next(found for found in probe() if found.delegate == "gpu")
    if gpu.device is None:
        pytest.skip("no Vulkan device")


@pytest.fixture
def scene(rng: np.random.Generator) -> np.ndarray:
    """A photo with detail of every size, uint8 [300, 400, 3]."""
    rows, columns = np.mgrid[0:300, 0:400]
    waves = sum(np.sin(rows / period) * np.cos(columns / period) for period in (1.5, 4, 11, 40))
    photo = 128 + 20 * waves[..., None] + rng.normal(0, 12, (300, 400, 3))
    return np.clip(photo, 0, 255).astype(np.uint8)
