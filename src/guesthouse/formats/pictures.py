"""Pictures of screens: taken as PPM, shown as PNG or JPEG.

Rules
-----
1. What QEMU writes may have been written by a guest that took it over. PPM is so plain that nothing can hide in it:
   sizes in figures, then bytes as they are. Nobody here decodes anything else.
2. A PNG is written by us: filter 0 on every line, which screens of text hardly need better.

Source: netpbm's ppm(5); PNG specification, third edition, 5.3 and 11.2; ISO/IEC 10918-1 by Pillow.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass

from guesthouse.model.errors import Failed

MAX_PIXELS = 16 * 1024 * 1024
"""More than QEMU's display adapters have memory for."""

MAX_PPM_BYTES = 3 * MAX_PIXELS + 64
_PPM = re.compile(rb"P6[ \n](\d{1,5}) (\d{1,5})\n255\n")
_PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
_DEPTH, _RGB = 8, 2
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """Lines from above, three bytes a pixel: red, green, blue."""

    width: int
    height: int
    pixels: bytes


def read_ppm(written: bytes) -> Picture:
    """The picture that is written so; raises `Failed` where it is none, or not whole."""
    if (head := _PPM.match(written)) is None:
        raise Failed("QEMU wrote no picture of the screen")
    width, height = int(head[1]), int(head[2])
    if not 0 < width * height <= MAX_PIXELS:
        raise Failed(f"a screen of {width} x {height} pixels is none")
    pixels = written[head.end() : head.end() + 3 * width * height]
    if len(pixels) < 3 * width * height:
        raise Failed("QEMU wrote only a part of the picture of the screen")
    return Picture(width, height, pixels)


def png(picture: Picture) -> bytes:
    """The picture as PNG, without loss."""
    head = struct.pack(">IIBBBBB", picture.width, picture.height, _DEPTH, _RGB, 0, 0, 0)
    line = 3 * picture.width
    lines = b"".join(b"\0" + picture.pixels[at : at + line] for at in range(0, len(picture.pixels), line))
    return _PNG_BEGIN + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")


def jpeg(picture: Picture) -> bytes:
    """The picture as JPEG, which is never without loss."""
    from PIL import Image  # here: most houses never need it, and it takes its time

    written = io.BytesIO()
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.pixels)
    image.save(written, "JPEG", quality=_JPEG_QUALITY)
    return written.getvalue()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
