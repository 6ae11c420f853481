"""Depth maps in photos. The photos are written as the formats' specifications say."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from bokeh_runtime import BokehModel, InputError, Photo, read_photo
from bokeh_runtime.imaging.depth import DepthMap
from bokeh_runtime.imaging.embedded_depth import find_embedded_depth, read_embedded_depth
from bokeh_runtime.imaging.jpeg_segments import read_segments
from bokeh_runtime.imaging.photo import write_photo
from bokeh_runtime.render import RenderOptions, render_file
from bokeh_runtime.render_depth import find_depth_maps
from bokeh_runtime.render_jobs import EMBEDDED, Job, find_jobs
from bokeh_runtime.render_record import result_provenance
from helpers import phone_photos
from helpers.phone_photos import encoded
from helpers.skips import ELSEWHERE

RAMP = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
"""60 x 80, black on the left."""
COLOUR = np.dstack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
LONG = np.random.default_rng(3).integers(0, 256, (300, 400)).astype(np.uint8)
"""A map whose PNG fills several segments of extended XMP."""


def read(path: Path, content: bytes) -> DepthMap:
    path.write_bytes(content)
    return read_embedded_depth(path, read_photo(path))


def refused(path: Path, content: bytes) -> str:
    """The message of the error."""
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_embedded_depth(path, Photo(COLOUR))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture
def jpeg() -> bytes:
    return encoded(COLOUR, "JPEG")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "IMG_1.jpg"


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_gdepth_is_read_with_black_as_near(
    kind: str, extended: bool, jpeg: bytes, path: Path
) -> None:
    content = phone_photos.gdepth(jpeg, encoded(RAMP, kind), extended=extended)
    depth = read(path, content).values
    assert depth.shape == (60, 80, 1)
    np.testing.assert_allclose(depth[..., 0], 1 - RAMP / 255, atol=0.02)
    assert find_embedded_depth(path) == "GDepth"


def test_gdepth_in_several_parts_is_joined(jpeg: bytes, path: Path) -> None:
    content = phone_photos.gdepth(jpeg, encoded(LONG, "PNG"))
    path.write_bytes(content)
    assert len([one for one in read_segments(content) if b"xmp/extension" in one.payload]) > 2
    depth = read_embedded_depth(path, Photo(COLOUR)).values
    np.testing.assert_allclose(depth[..., 0], 1 - LONG / 255, atol=1e-6)


def test_a_linear_range_becomes_inverse_depth(jpeg: bytes, path: Path) -> None:
    content = phone_photos.gdepth(jpeg, encoded(RAMP, "PNG"), kind="RangeLinear", limits=(1.0, 4.0))
    depth = read(path, content).values[0, :, 0]
    metres = 1 + RAMP[0] / 255 * 3
    np.testing.assert_allclose(depth, (1 / metres - 0.25) / 0.75, atol=1e-6)
    # Without usable limits, it is turned over.
    content = phone_photos.gdepth(jpeg, encoded(RAMP, "PNG"), kind="RangeLinear", limits=(0.0, 0.0))
    np.testing.assert_allclose(read(path, content).values[0, :, 0], 1 - RAMP[0] / 255, atol=1e-6)


@pytest.mark.parametrize("before", [b"", bytes(range(256)) * 5])
def test_dynamic_depth_is_read_from_after_the_photo(before: bytes, jpeg: bytes, path: Path) -> None:
    content = phone_photos.dynamic_depth(jpeg, encoded(RAMP, "PNG"), before=before)
    np.testing.assert_allclose(read(path, content).values[..., 0], 1 - RAMP / 255, atol=1e-6)
    assert find_embedded_depth(path) == "dynamic depth"


@pytest.mark.parametrize("kind", ["disparity", "depth"])
def test_apples_image_in_a_multi_picture_file_is_read(kind: str, jpeg: bytes, path: Path) -> None:
    content = phone_photos.multi_picture(jpeg, encoded(RAMP, "JPEG"), kind)
    expected = RAMP / 255 if kind == "disparity" else 1 - RAMP / 255
    np.testing.assert_allclose(read(path, content).values[..., 0], expected, atol=0.02)
    assert find_embedded_depth(path) == "Apple"


def test_a_gain_map_is_no_depth_map(jpeg: bytes, path: Path) -> None:
    urn = "urn:com:apple:photo:2020:aux:hdrgainmap"
    content = phone_photos.multi_picture(jpeg, encoded(RAMP, "JPEG"), urn)
    assert "has no embedded depth map" in refused(path, content)
    assert find_embedded_depth(path) is None


def test_the_depth_image_of_a_heic_file_is_read(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason=f"{ELSEWHERE}no HEIC decoder")
    path = tmp_path / "IMG_1.heic"
    photo = COLOUR.repeat(2, axis=0).repeat(2, axis=1)
    depth = read(path, phone_photos.heic_with_depth(photo, RAMP))
    assert depth.values.shape == (60, 80, 1)
    np.testing.assert_allclose(depth.values[..., 0], RAMP / 255, atol=0.03)
    assert find_embedded_depth(path) == "HEIC"


@pytest.mark.parametrize("orientation", [3, 6])
def test_it_is_turned_with_the_photo(orientation: int, path: Path) -> None:
    photo = encoded(COLOUR, "JPEG", orientation)
    # The map's own orientation, which some phones write too, is not applied a second time.
    for own in (1, orientation):
        content = phone_photos.gdepth(photo, encoded(RAMP, "JPEG", own))
        depth = read(path, content).values[..., 0]
        upright = 1 - RAMP / 255
        turned = upright[::-1, ::-1] if orientation == 3 else upright[::-1].T
        np.testing.assert_allclose(depth, turned, atol=0.02)


def test_a_photo_without_a_map_says_so(jpeg: bytes, path: Path) -> None:
    assert "has no embedded depth map; give a depth map with depth" in refused(path, jpeg)
    assert "has no embedded depth map" in refused(path.with_suffix(".png"), encoded(RAMP, "PNG"))
    assert find_embedded_depth(path) is None
    assert find_embedded_depth(path.with_name("none.jpg")) is None


def test_damaged_metadata_is_one_clear_line(jpeg: bytes, path: Path) -> None:
    whole = phone_photos.gdepth(jpeg, encoded(LONG, "PNG"))
    parts = [one for one in read_segments(whole) if b"xmp/extension" in one.payload]
    lost = whole.replace(parts[1].payload, b"\0" * len(parts[1].payload))
    assert "its extended XMP is incomplete" in refused(path, lost)
    small = phone_photos.gdepth(jpeg, encoded(RAMP, "PNG"), extended=False)
    assert "GDepth:Data is no base64" in refused(path, small.replace(b'Data="iVBO', b'Data="!!!!'))
    assert "GDepth:Data is missing" in refused(path, small.replace(b"GDepth:Data", b"GDepth:Dada"))
    assert "its XMP is damaged" in refused(path, small.replace(b"<rdf:RDF", b"<rdf:RDX"))
    assert "unknown format 'RangeInvers_'" in refused(
        path, small.replace(b"RangeInverse", b"RangeInvers_")
    )
    picture = phone_photos.gdepth(jpeg, encoded(COLOUR, "PNG"))
    assert "a colour image, where a grey one is expected" in refused(path, picture)
    text = phone_photos.gdepth(jpeg, b"not an image")
    assert "damaged (neither JPEG nor PNG)" in refused(path, text)
    cut = phone_photos.gdepth(jpeg, encoded(LONG, "PNG")[:5000])
    assert "embedded depth map: damaged (" in refused(path, cut)
    assert refused(path, cut).endswith("; give another depth map with depth")


def test_entities_and_huge_images_are_refused(jpeg: bytes, path: Path) -> None:
    description = '<rdf:Description xmlns:GDepth="{}" GDepth:Format="RangeInverse"/>'
    marker, packet = phone_photos.xmp_segment(description.format(phone_photos.GDEPTH))
    start = packet.index(b"<x:xmpmeta")
    laughs = packet[:start] + b'<!DOCTYPE a [<!ENTITY b "cc">]>' + packet[start:]
    content = phone_photos.with_segments(jpeg, (marker, laughs))
    assert "document type declaration" in refused(path, content)
    hidden = packet[:start] + laughs[start:].decode().encode("utf-16")
    content = phone_photos.with_segments(jpeg, (marker, hidden))
    assert "its XMP is not UTF-8" in refused(path, content)
    png = encoded(RAMP, "PNG")
    for side, said in ((60_000, "more than 256 megapixels"), (2100, "larger than the photo")):
        header = b"IHDR" + struct.pack(">II", side, side) + png[24:29]
        huge = png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
        assert said in refused(path, phone_photos.gdepth(jpeg, huge))


def test_a_truncated_container_is_one_clear_line(jpeg: bytes, path: Path) -> None:
    depth = encoded(RAMP, "PNG")
    whole = phone_photos.dynamic_depth(jpeg, depth)
    for content in (
        whole[: -len(depth)],
        whole[:-1],
        phone_photos.dynamic_depth(jpeg, depth, length=len(depth) + 1),
        phone_photos.dynamic_depth(jpeg, b"x" * 500),
    ):
        assert "it is not where the XMP says" in refused(path, content)


@pytest.mark.parametrize("make", ["gdepth", "dynamic_depth", "multi_picture"])
def test_no_damage_causes_another_error(make: str, path: Path, rng: np.random.Generator) -> None:
    small = encoded(COLOUR[::4, ::4], "JPEG")
    whole = getattr(phone_photos, make)(small, encoded(RAMP[::4, ::4], "JPEG"))
    photo = Photo(COLOUR)
    for i in range(300):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 1 + i % 4):
            content[at] = rng.integers(256)
        path.write_bytes(content[: len(whole) - (i % 5 == 0) * int(rng.integers(len(whole)))])
        find_embedded_depth(path)
        try:
            depth = read_embedded_depth(path, photo)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert np.isfinite(depth.values).all()


@pytest.fixture
def rgbd(data: Path) -> BokehModel:
    return BokehModel.open(data / "small_rgbd.tflite", "cpu", threads=1)


def test_an_embedded_map_renders_as_the_same_map_in_a_file(
    jpeg: bytes, path: Path, rgbd: BokehModel
) -> None:
    path.write_bytes(phone_photos.gdepth(jpeg, encoded(RAMP, "PNG")))
    write_photo(path.with_name("map.png"), Photo(np.dstack([255 - RAMP] * 3), grey=True))
    results = []
    for name, depth in (("a.png", EMBEDDED), ("b.png", path.with_name("map.png"))):
        ((job,), _) = find_jobs(path, path.with_name(name), depth)
        render_file(rgbd, job, RenderOptions())
        results.append(read_photo(job.output).pixels.astype(int))
    assert np.abs(results[0] - results[1]).max() <= 1
    assert result_provenance(job, rgbd, RenderOptions(), None)["depth"] != "embedded"
    ((job,), _) = find_jobs(path, path.with_name("a.png"), EMBEDDED)
    assert result_provenance(job, rgbd, RenderOptions(), None)["depth"] == "embedded"


def test_a_missing_depth_map_hints_at_the_embedded_one(
    jpeg: bytes, path: Path, rgbd: BokehModel
) -> None:
    path.write_bytes(jpeg)
    job = Job(path, path.with_name("out.jpg"))
    with pytest.raises(InputError) as caught:
        find_depth_maps([job], rgbd)
    assert "needs a depth map; give depth or depth_model" in str(caught.value)
    path.write_bytes(phone_photos.gdepth(jpeg, encoded(RAMP, "PNG")))
    with pytest.raises(InputError) as caught:
        find_depth_maps([job], rgbd)
    assert f"{path} has one embedded (GDepth); give depth='embedded'" in str(caught.value)
    assert "give --depth embedded to use it" in caught.value.in_options({"depth": "--depth"})
