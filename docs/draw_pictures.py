"""Draws the pictures of the documentation anew, with the models that ship: `make pictures`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import sync_playwright

from bokeh_runtime import BokehModel, fit, read_photo
from bokeh_runtime.imaging.picture import from_unit, to_unit

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PHOTOS = ROOT / "convert" / "bokeh_convert" / "photos"
BUILD = ROOT / "build" / "pictures"
MARGIN = 8
JPEG_QUALITY = 90
UNSEEN_PHOTOS = ("astronaut.jpg", "coffee.jpg", "rocket.jpg")
"""Verification photos that neither the demo model nor its student was trained on."""
INPUT_SIZE = (256, 384)
"""Height and width of the networks' input."""
DIFFERENCE_GAIN = 8


def main() -> None:
    """Writes before-after.jpg, render.jpg, comparison.jpg, student.jpg and bench.jpg into docs/."""
    photo, rendering = render(PHOTOS / "calibration" / "drum.jpg")
    save("before-after.jpg", [[scaled(photo, 400), scaled(rendering, 400)]])

    images = render(ROOT / "benchmarks" / "photos" / "dandelion.jpg")
    rows, columns = images[0].shape[:2]
    top, left = round(rows * 0.25), round(columns * 0.115)
    detail = np.s_[top : top + 450, left : left + 400]
    save("render.jpg", [[scaled(image, 800), image[detail]] for image in images])

    run("bokeh-convert", "--demo", "--quant", "float16,int8", "--output-dir", str(BUILD))
    with Image.open(BUILD / "demo_pynet.comparison.png") as comparison:
        comparison.convert("RGB").save(DOCS / "comparison.jpg", quality=JPEG_QUALITY)

    save("student.jpg", student_rows())

    files = [str(BUILD / f"demo_pynet_{scheme}.tflite") for scheme in ("float16", "int8")]
    run("bokeh-bench", *files, "--delegate", "cpu", "--output-dir", str(BUILD / "bench"))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((BUILD / "bench" / "report.html").as_uri())
        page.screenshot(path=DOCS / "bench.jpg", type="jpeg", quality=JPEG_QUALITY)
        browser.close()


def run(command: str, *arguments: str) -> None:
    """Runs one of the commands."""
    subprocess.run([Path(sys.executable).parent / command, *arguments], check=True)


def render(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Returns a photo and what the demo model makes of it, both [height, width, 3]."""
    photo = np.asarray(read_photo(path).pixels, np.uint8)
    with BokehModel.open() as model:
        return photo, np.asarray(model.render(photo).pixels, np.uint8)


def student_rows() -> list[list[npt.NDArray[np.uint8]]]:
    """Returns a row for each photo: it, teacher, student, student in int8, amplified difference."""
    convert = ("bokeh-convert", "--output-dir", str(BUILD), "--demo")
    run(*convert, "pynet", "--quant", "float32")
    run(*convert, "student", "--quant", "float32,int8")
    photos = [to_unit(read_photo(PHOTOS / "verification" / name).pixels) for name in UNSEEN_PHOTOS]
    columns = [[fit(photo, *INPUT_SIZE) for photo in photos]]
    for name in ("demo_pynet_float32", "demo_student_float32", "demo_student_int8"):
        with BokehModel.open(BUILD / f"{name}.tflite", "cpu") as model:
            drawn = [model.render(image, network_resolution=True) for image in columns[0]]
        columns.append([rendering.pixels for rendering in drawn])
    differences = [int8 - teacher for teacher, int8 in zip(columns[1], columns[-1], strict=True)]
    columns.append([0.5 + DIFFERENCE_GAIN * difference for difference in differences])
    return [
        [from_unit(image, np.dtype(np.uint8)) for image in row]
        for row in zip(*columns, strict=True)
    ]


def scaled(image: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    """Returns an image with that width."""
    height = round(image.shape[0] * width / image.shape[1])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized)


def save(name: str, grid: list[list[npt.NDArray[np.uint8]]]) -> None:
    """Writes rows of images of equal height, with white between them."""
    rows = [np.hstack([padded(image) for image in row]) for row in grid]
    whole = np.vstack(rows)[:-MARGIN, :-MARGIN]
    Image.fromarray(whole).save(DOCS / name, quality=JPEG_QUALITY)


def padded(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Returns an image with a white margin on its right and below."""
    return np.pad(image, ((0, MARGIN), (0, MARGIN), (0, 0)), constant_values=255)


if __name__ == "__main__":
    main()
