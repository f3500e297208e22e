"""Sizes: how people write them and how we keep them.

Rules
-----
1. Memory and disks are kept in whole MiB (`*_mib`), files in bytes (`*_bytes`).
2. People write ``512M``, ``2G``, ``1.5G``, ``1T`` or with ``iB``; a bare number is MiB. All units are powers
   of 1024, as in QEMU; ``KB``/``GB`` (powers of 1000) are refused, because half of their users mean something else.
"""

from __future__ import annotations

import re

from guesthouse.model.errors import Invalid

_MIB_PER_UNIT = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
_WRITTEN = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*$", re.IGNORECASE)
_DECIMAL = re.compile(r"^\s*[\d.]+\s*[KMGT]B\s*$", re.IGNORECASE)


def parse_mib(written: str | int, field: str) -> int:
    """Read a size as people write it, in MiB; raises `Invalid` naming `field` if it is none."""
    text = str(written)
    match = _WRITTEN.match(text)
    if match is None or _DECIMAL.match(text):
        raise Invalid(f"{field} {text!r} is not a size", field=field, value=text, hint="write it like 512M, 2G or 1T")
    mib = float(match[1]) * _MIB_PER_UNIT[match[2].upper()]
    if mib < 1 or mib != int(mib):
        raise Invalid(
            f"{field} {text!r} is not a whole number of MiB, 1 at least",
            field=field,
            value=text,
            hint="write it like 512M, 2G or 1T",
        )
    return int(mib)


def show_mib(mib: int) -> str:
    """A size for people: ``512M``, ``2G``, ``1.5G``; `parse_mib` reads it back to the same number."""
    for unit, factor in (("T", 1024 * 1024), ("G", 1024)):
        if mib >= factor and mib * 2 % factor == 0:
            half = ".5" if mib % factor else ""
            return f"{mib // factor}{half}{unit}"
    return f"{mib}M"


def show_bytes(count: int) -> str:
    """A file's size for people, three digits: ``417 MiB``."""
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if size >= 100 or unit == "B" else f"{size:.3g} {unit}"
