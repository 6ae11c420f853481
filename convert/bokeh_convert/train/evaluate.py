"""Evaluates a trained model on held-out pairs: whole photo, subject and background."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from bokeh_convert.train.batches import resize
from bokeh_convert.train.contact_sheet import ContactSheet
from bokeh_convert.train.pair_files import refuse_unusable
from bokeh_convert.train.pairs import Pair
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth, open_depth_of_photo
from bokeh_runtime.imaging.photo import (
    FloatImage,
    open_photo,
    read_photo,
    to_unit,
)
from bokeh_runtime.imaging.resample import fit
from bokeh_runtime.metrics.psnr import finite_db, psnr, summarize_psnr

_MULTIPLE = 32
_DECIBELS = ("whole", "whole_input", "subject", "background", "background_input")


@dataclass(frozen=True)
class Score:
    """Scores of one photo. PSNR in dB with peak 1.0 and no crop; infinity if identical.

    Attributes:
        name: Name of the pair.
        whole: PSNR of the output against the target.
        whole_input: PSNR of the input photo against the target, for comparison.
        subject: PSNR of the output against the sharp photo inside the mask (weighted by the mask);
            None without a mask or with an empty one.
        background: PSNR of the output against the target outside the mask; None without a mask, or
            if it covers the whole photo.
        background_input: PSNR of the input photo against the target outside the mask; None
            likewise.
        background_detail: Gradient energy of the output outside the mask, relative to the sharp
            photo's; 1 is as sharp as the photo. None likewise.
        target_detail: Gradient energy of the target outside the mask, relative to the sharp
            photo's. None likewise.
    """

    name: str
    whole: float
    whole_input: float
    subject: float | None
    background: float | None
    background_input: float | None
    background_detail: float | None
    target_detail: float | None


def evaluate(
    infer: Callable[[FloatImage], FloatImage],
    pairs: Sequence[Pair],
    *,
    short_side: int,
    depth: bool,
    sheet: ContactSheet | None = None,
    on_photo: Callable[[str, int], None] = lambda name, done: None,
) -> list[Score]:
    """Runs a model on pairs and scores its outputs.

    Args:
        infer: Function from network input, float [height, width, 3 or 4] in [0, 1], to network
            output, float [h, w, 3] in about [0, 1].
        pairs: Held-out pairs.
        short_side: Short side of the network input, in pixels; rounded down to a multiple of 32.
        depth: Whether the model takes depth.
        sheet: Gets a row for each pair: photo, output, target. None for no contact sheet.
        on_photo: Called after each pair, with its name and the number of pairs done.

    Returns:
        One score per pair.

    Raises:
        InputError: If the model takes depth and a pair has no depth map, or a file is no image,
            before anything is run; if a photo is damaged, or an output has NaN or infinity.
    """
    refuse_unusable(pairs, depth=depth, masks=True)
    scores: list[Score] = []
    for pair in pairs:
        sharp_photo, bokeh = read_photo(pair.sharp), open_photo(pair.bokeh)
        sharp = to_unit(sharp_photo.pixels)
        height, width = _network_size(sharp, short_side)
        photo = fit(sharp, height, width)
        planes = [photo]
        if depth:
            assert pair.depth is not None, "checked above"
            planes.append(fit(open_depth_of_photo(pair.depth, sharp_photo), height, width))
        output = infer(np.concatenate(planes, axis=-1))
        if not np.isfinite(output).all():  # before clipping, which would turn infinity into white
            raise InputError(
                f"{pair.sharp}: the output of the model has NaN or infinity; train it again"
            )
        output = np.clip(output, 0, 1)
        out_height, out_width = output.shape[:2]
        resized_input = np.clip(resize(photo, out_height, out_width), 0, 1)
        target = fit(bokeh, out_height, out_width)
        mask = None if pair.mask is None else fit(open_depth(pair.mask), out_height, out_width)
        scores.append(
            _score(
                pair.name, output, resized_input, fit(sharp, out_height, out_width), target, mask
            )
        )
        if sheet is not None:
            sheet.add([resized_input, output, target])
        on_photo(pair.name, len(scores))
    return scores


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Returns the means over all photos as JSON data.

    The keys are `photos`, those of `Score`, and `whole_pooled`, `whole_worst` and
    `identical_photos` (see `bokeh_runtime.metrics.psnr.PsnrSummary`). A value is None if it is None
    for any photo. Infinite PSNR values, of identical images, are left out of a mean.
    """
    means: dict[str, Any] = {"photos": len(scores)}
    for field in (f for f in Score.__dataclass_fields__ if f != "name"):
        values = [getattr(score, field) for score in scores]
        if None in values:
            means[field] = None
        elif field in _DECIBELS:
            means[field] = finite_db(summarize_psnr(values).mean)
        else:
            means[field] = round(float(np.mean(values)), 3)
    whole = summarize_psnr([score.whole for score in scores])
    return {
        **means,
        "whole_pooled": finite_db(whole.pooled),
        "whole_worst": finite_db(whole.worst),
        "identical_photos": whole.identical_images,
    }


def score_data(score: Score) -> dict[str, Any]:
    """Returns the scores of a photo as JSON data; an infinite PSNR is None."""
    found = asdict(score)
    return {**found, **{f: finite_db(found[f]) for f in _DECIBELS if found[f] is not None}}


def masked_psnr(image: FloatImage, reference: FloatImage, weight: FloatImage) -> float | None:
    """Returns the PSNR with weighted errors, in dB, with peak 1.0.

    Args:
        image: float [height, width, 3] in [0, 1].
        reference: float [height, width, 3] in [0, 1].
        weight: float [height, width, 1] in [0, 1].

    Returns:
        The PSNR; infinity if the images are identical, None if all weights are 0.
    """
    if not weight.any():
        return None
    error = np.square(np.asarray(image, np.float64) - reference) * weight
    mean = float(error.sum() / (weight.sum() * image.shape[-1]))
    return math.inf if mean == 0 else -10 * math.log10(mean)


def _score(
    name: str,
    output: FloatImage,
    resized_input: FloatImage,
    sharp: FloatImage,
    target: FloatImage,
    mask: FloatImage | None,
) -> Score:
    whole, whole_input = (psnr(image, target, border_px=0) for image in (output, resized_input))
    if mask is None:
        return Score(name, whole, whole_input, None, None, None, None, None)
    behind = np.asarray(1 - mask, np.float32)
    detail = _gradient_energy(sharp, behind) if behind.any() else 0.0
    return Score(
        name,
        whole,
        whole_input,
        masked_psnr(output, sharp, mask),
        masked_psnr(output, target, behind),
        masked_psnr(resized_input, target, behind),
        _gradient_energy(output, behind) / detail if detail else None,
        _gradient_energy(target, behind) / detail if detail else None,
    )


def _gradient_energy(image: FloatImage, weight: FloatImage) -> float:
    grey = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)
    energy = cv2.Sobel(grey, cv2.CV_32F, 1, 0) ** 2 + cv2.Sobel(grey, cv2.CV_32F, 0, 1) ** 2
    return float((energy * weight[..., 0]).sum() / weight.sum())


def _network_size(photo: FloatImage, short_side: int) -> tuple[int, int]:
    factor = short_side / min(photo.shape[:2])
    height, width = (
        max(_MULTIPLE, int(side * factor) // _MULTIPLE * _MULTIPLE) for side in photo.shape[:2]
    )
    return height, width
