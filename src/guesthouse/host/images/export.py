"""Export of a disk of ours to a file for elsewhere: one row of `EXPORTS` a format.

Rules
-----
1. The layers are told, top first, each with its format; no name in a header is followed.
2. A disk that a running machine writes is a conflict, never copied half-way (`qemu-img` locks).
3. The result is one file without a backing file, durable, and appears under its name in one step. What a killed
   export left is overwritten by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from guesthouse.formats.diskimage import FORMATS
from guesthouse.host import durable, processes
from guesthouse.host.images import qemuimg
from guesthouse.host.processes import Limits
from guesthouse.model.errors import Invalid
from guesthouse.ports import Progress

_SECTOR_BYTES = 512


class Export(NamedTuple):
    """A row: QEMU's driver, the options for an ordinary and for a compressed file (None: there is none)."""

    driver: str
    options: str = ""
    compressed_options: str | None = None


EXPORTS: dict[str, Export] = {
    "qcow2": Export("qcow2", "compat=1.1", "compat=1.1,compression_type=zstd"),
    "raw": Export("raw"),
    "vmdk": Export("vmdk", "subformat=monolithicSparse", "subformat=streamOptimized"),
    "vhd": Export("vpc", "subformat=dynamic,force_size=on"),
    "vhdx": Export("vhdx", "subformat=dynamic"),
    "vdi": Export("vdi"),
}


class Layer(NamedTuple):
    """A file of the disk and its format (a name in `formats.diskimage.FORMATS`)."""

    path: Path
    format: str


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """What one export may use up."""

    memory_mib: int = 2048
    timeout_s: float = 4 * 3600


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export; `stored_bytes` is what it takes on the disk, `file_bytes` its length."""

    path: Path
    format: str
    compressed: bool
    file_bytes: int
    stored_bytes: int


class _Work(NamedTuple):
    """One export on its way, and what it is called."""

    name: str
    doing: str
    limits: ExportLimits
    progress: Progress


async def export_disk(
    layers: Sequence[Layer],
    destination: Path,
    *,
    format: str,
    compress: bool = False,
    limits: ExportLimits | None = None,
    progress: Progress,
    doing: str = "exporting",
) -> Exported:
    """Write the disk that `layers` make up, top first, to `destination`, replacing what is there.

    `doing` is what progress and errors call it. Raises `Invalid` for a format that is not in `EXPORTS` or has no
    compressed form, `Conflict` when a running machine holds the disk, `NoCapacity` on a full disk, `TimedOut`.
    """
    row = _row(format, compress)
    limits = limits or ExportLimits()
    partial = destination.with_name(destination.name + ".partial")
    try:
        work = _Work(destination.name, doing, limits, progress)
        await _convert(_node(layers), partial, row, compress, work)
        await asyncio.to_thread(durable.put_in_place, partial, destination)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    facts = await asyncio.to_thread(destination.stat)
    return Exported(destination, format, compress, facts.st_size, facts.st_blocks * _SECTOR_BYTES)


def _row(format: str, compress: bool) -> Export:
    row = EXPORTS.get(format)
    if row is None:
        raise Invalid(
            f"a disk cannot be exported as {format}",
            field="format",
            value=format,
            hint=f"one of {', '.join(EXPORTS)}",
        )
    if compress and row.compressed_options is None:
        able = ", ".join(name for name, each in EXPORTS.items() if each.compressed_options is not None)
        raise Invalid(
            f"{format} has no compressed form", field="compress", value=format, hint=f"compressed can be {able}"
        )
    return row


def _node(layers: Sequence[Layer]) -> str:
    """The layers as one block node, from the lowest up."""
    node = None
    for layer in reversed(layers):
        node = qemuimg.node(FORMATS[layer.format].driver, str(layer.path), node)
    if node is None:
        raise ValueError("a disk has at least one layer")
    return node


async def _convert(node: str, partial: Path, row: Export, compress: bool, work: _Work) -> None:
    options = row.compressed_options if compress else row.options
    flags = (*(("-c",) if compress else ()), *(("-o", options) if options else ()))
    work.progress(work.doing, 0.0)
    with qemuimg.understood(work.name, work.doing):
        await processes.run(
            ("qemu-img", "convert", "-p", "-O", row.driver, *flags, node, str(partial)),
            limits=Limits(memory_mib=work.limits.memory_mib),
            timeout_s=work.limits.timeout_s,
            on_output=qemuimg.on_percent(work.progress, work.doing),
            subject=work.name,
        )
