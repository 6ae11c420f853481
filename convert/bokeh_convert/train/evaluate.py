"""Scores a trained model on held-out pairs: the whole photo, the subject and the background."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bokeh_convert.train.batches import resize
from bokeh_convert.train.pairs import Pair
from bokeh_runtime.errors import InputError
from bokeh_runtime.imaging.depth import open_depth
from bokeh_runtime.imaging.photo import FloatImage, open_photo, save_photo
from bokeh_runtime.imaging.resample import fit
from bokeh_runtime.metrics.psnr import finite_db, psnr, summarize_psnr

_MULTIPLE = 32
_DECIBELS = ("whole", "whole_input", "subject", "background", "background_input")


@dataclass(frozen=True)
class Score:
    """One held-out photo. PSNR in dB, peak 1.0, no crop; infinity for identical pictures.

    Attributes:
        whole: Output against the target; `whole_input` is that of "output = input".
        subject: Output against the sharp photo inside the mask (weighted by it); None without a
            mask or with an empty one.
        background: Output against the target outside the mask; `background_input` likewise. None
            without a mask, or where it covers everything.
        background_detail: Gradient energy of the output outside the mask as a fraction of the
            photo's: 1 is as sharp as the photo; `target_detail` is that of the target.
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
    sheet: Path | None = None,
) -> list[Score]:
    """Runs a model on pairs and scores it.

    Args:
        infer: From the network input [height, width, 3 or 4] to [h, w, 3], both in about [0, 1].
        pairs: Held-out pairs.
        short_side: Of the photo as the network sees it, in pixels.
        depth: Whether the model takes depth.
        sheet: Where to save a contact sheet (photo, output, target), if anywhere.

    Returns:
        One score for each pair. "Output = input" is the photo scaled to the output's size.

    Raises:
        InputError: If the model draws NaN or infinity.
    """
    scores, strips = [], []
    for pair in pairs:
        sharp, bokeh = open_photo(pair.sharp), open_photo(pair.bokeh)
        height, width = _network_size(sharp, short_side)
        photo = fit(sharp, height, width)
        planes = [photo]
        if depth:
            if pair.depth is None:
                raise ValueError(f"{pair.sharp}: no depth map, and the model takes depth")
            planes.append(fit(open_depth(pair.depth), height, width))
        output = infer(np.concatenate(planes, axis=-1))
        if not np.isfinite(output).all():  # before it is clipped: infinity would become white
            raise InputError(f"{pair.sharp}: the model draws NaN or infinity; train it again")
        output = np.clip(output, 0, 1)
        out_height, out_width = output.shape[:2]
        given = np.clip(resize(photo, out_height, out_width), 0, 1)
        target = fit(bokeh, out_height, out_width)
        mask = None if pair.mask is None else fit(open_depth(pair.mask), out_height, out_width)
        scores.append(
            _score(pair.name, output, given, fit(sharp, out_height, out_width), target, mask)
        )
        strips.append(np.hstack([given, output, target]))
    if sheet is not None:
        save_photo(sheet, _contact_sheet(strips))
    return scores


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """Returns the means over all photos as JSON data; a field that some photo lacks is None.

    `whole_pooled`, `whole_worst` and `identical_photos` are as in
    `bokeh_runtime.metrics.psnr.PsnrSummary`; photos whose two pictures are identical are left out
    of a mean of PSNR.
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
    """Returns a photo's scores as JSON data; a PSNR of identical pictures is None."""
    found = asdict(score)
    return {**found, **{f: finite_db(found[f]) for f in _DECIBELS if found[f] is not None}}


def masked_psnr(image: FloatImage, reference: FloatImage, weight: FloatImage) -> float | None:
    """PSNR in dB of [height, width, 3] images, errors weighted by [height, width, 1] in [0, 1].

    None where nothing has a weight.
    """
    if not weight.any():
        return None
    error = np.square(np.asarray(image, np.float64) - reference) * weight
    mean = float(error.sum() / (weight.sum() * image.shape[-1]))
    return math.inf if mean == 0 else -10 * math.log10(mean)


def _score(
    name: str,
    output: FloatImage,
    given: FloatImage,
    sharp: FloatImage,
    target: FloatImage,
    mask: FloatImage | None,
) -> Score:
    whole, whole_input = (psnr(image, target, border_px=0) for image in (output, given))
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
        masked_psnr(given, target, behind),
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


def _contact_sheet(strips: Sequence[FloatImage]) -> FloatImage:
    """Lays the strips out in two columns, each scaled to the first one's size."""
    height, width = strips[0].shape[:2]
    same = [np.pad(fit(strip, height, width), ((2, 2), (4, 4), (0, 0))) for strip in strips]
    if len(same) % 2:
        same.append(np.zeros_like(same[0]))
    return np.vstack([np.hstack(same[i : i + 2]) for i in range(0, len(same), 2)])
