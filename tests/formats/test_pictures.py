"""Pictures of screens, judged by Pillow."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guesthouse.formats.pictures import Picture, jpeg, png, read_ppm
from guesthouse.model.errors import Failed


def ppm(picture: Picture) -> bytes:
    return b"P6\n%d %d\n255\n" % (picture.width, picture.height) + picture.pixels


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return Picture(width, height, draw(st.binary(min_size=3 * width * height, max_size=3 * width * height)))


@given(pictures())
def test_nothing_is_lost_on_the_way_to_png(picture: Picture) -> None:
    assert read_ppm(ppm(picture) + b"more") == picture
    with Image.open(io.BytesIO(png(picture))) as seen:
        seen.load()
        assert (seen.format, seen.mode, seen.size) == ("PNG", "RGB", (picture.width, picture.height))
        assert seen.tobytes() == picture.pixels


def test_a_jpeg_looks_like_it() -> None:
    with Image.open(io.BytesIO(jpeg(Picture(16, 8, b"\xc0\x20\x20" * 128)))) as seen:
        assert (seen.format, seen.size) == ("JPEG", (16, 8))
        colour = seen.convert("RGB").getpixel((5, 5))
        assert isinstance(colour, tuple)
        assert all(abs(is_ - was) < 12 for is_, was in zip(colour, (0xC0, 0x20, 0x20), strict=True))


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"P6\n2 1\n255\n12345",
        b"P6\n0 1\n255\n",
        b"P6\n99999 99999\n255\n",
        b"P6\n123456 1\n255\n",
        b"P6\n2 1\n65535\n123456",
        b"P6\n2 -1\n255\n123456",
    ],
)
def test_what_is_no_picture_is_refused(written: bytes) -> None:
    with pytest.raises(Failed):
        read_ppm(written)
