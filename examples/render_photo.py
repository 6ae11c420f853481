"""Renders a photo with the model that ships with the package, at the photo's full size."""

from dataclasses import replace
from pathlib import Path

from bokeh_runtime import BokehModel, read_photo, write_photo

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "benchmarks" / "photos" / "dandelion.jpg"
OUT = ROOT / "build" / "examples" / "render"


def main() -> None:
    """Renders, and says where the network ran."""
    OUT.mkdir(parents=True, exist_ok=True)
    # "auto" takes an NPU or GPU if one runs the whole model and draws the right picture.
    with BokehModel.open(delegate="auto") as model:
        photo = read_photo(PHOTO)  # colour profile and EXIF stay with it
        rendering = model.render(photo.pixels)
    write_photo(OUT / "dandelion.jpg", replace(photo, pixels=rendering.pixels))
    print(f"{OUT / 'dandelion.jpg'}: ran on {rendering.placement.device}")
    for stage, milliseconds in rendering.timings.items():
        print(f"  {stage} {milliseconds:.0f}")


if __name__ == "__main__":
    main()
