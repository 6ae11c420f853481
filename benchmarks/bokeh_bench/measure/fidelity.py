"""The fidelity of what a device computed to what was expected of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bokeh_bench.measure.references import Expectation
from bokeh_bench.measure.rows import Picture
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.photo import FloatImage
from bokeh_runtime.metrics.fidelity import (
    PROTOCOLS,
    PerceptualFidelity,
    PerceptualImageFidelity,
    compare_perceptually,
    protocols_for,
)

BROKEN_DB = 10.0


def fidelity_of(
    vs: str, drawn: Iterator[tuple[Expectation, FloatImage]]
) -> tuple[list[PerceptualFidelity], list[Picture], list[str]]:
    """Compares pictures with what was expected, in every protocol that fits them.

    Args:
        vs: "full_model" or "ground_truth".
        drawn: The expectation and the picture, not clipped.

    Returns:
        The fidelity in each protocol, the pictures if `vs` is "full_model", and notes.

    Raises:
        InputError: If a picture has another shape than was expected, or is not finite: a number
            for how near it comes would be made up.
    """
    found: dict[str, list[PerceptualImageFidelity]] = {}
    pictures, notes = [], []
    for expectation, output in drawn:
        wanted = expectation.wanted
        if output.shape != wanted.shape:
            raise InputError(
                f"{expectation.name}: drawn as {list(output.shape)}, not {list(wanted.shape)}; "
                "give the reference pack of the model's own conversion"
            )
        if not np.isfinite(output).all():
            raise InputError(
                f"draws NaN or infinity for {expectation.name}; convert the model again, or try "
                "another --delegate"
            )
        picture = np.clip(output, 0, 1)
        for protocol in protocols_for(*wanted.shape[:2]):
            border = PROTOCOLS[protocol]
            one = compare_perceptually(expectation.name, picture, wanted, border_px=border)
            found.setdefault(protocol, []).append(one)
        if vs == "full_model":
            pictures.append(Picture(expectation.name, expectation.pixels[..., :3], wanted, picture))
    worst = min((image.psnr_db for image in found.get("full", [])), default=np.inf)
    if vs == "full_model" and worst < BROKEN_DB:
        notes.append(f"draws another picture than the full model ({worst:.1f} dB)")
    fidelity = [PerceptualFidelity(images, vs, protocol) for protocol, images in found.items()]
    return fidelity, pictures, notes
