"""Merging layers under a machine that runs: QEMU copies while the guest goes on."""

from __future__ import annotations

import os
from collections.abc import Iterable

from guesthouse.decide.layers import layers_of
from guesthouse.host import identity
from guesthouse.host.disks import DiskFiles
from guesthouse.host.machines.layering import forget_unused, look
from guesthouse.host.machines.run import Run
from guesthouse.host.streaming import MERGES, follow
from guesthouse.model.errors import Failed
from guesthouse.model.resources import Disk, Image
from guesthouse.ports import Progress
from guesthouse.qemu.streaming import flush, stream

# Nobody waits for it, and the guest wants its disk for itself.
_PACE_BYTES_PER_S = 256 << 20


async def merge_live(
    run: Run, files: DiskFiles, disk: Disk, layer: str, images: Iterable[Image], progress: Progress
) -> bool:
    """Take into a layer what lies between it and its wanted parent; False when QEMU does not have that layer.

    Raises `NoCapacity` or `Failed`; the layer then is as it was.
    """
    if all(has.disk != disk.id for has in run.record.spec.disks):
        return False
    device, path, wanted = run.record.placed.disk(disk.id), files.layers.path(disk, layer), layers_of(disk)[layer]
    written, nodes = await look(run, device)
    node = nodes.of(path)
    if not node:
        return False
    below = files.under(disk, images) if wanted is None else None
    under = files.layers.path(disk, wanted) if wanted is not None else below.path if below else None
    base = nodes.of(under) if under else ""
    if under and not base:
        raise Failed(f"disk {disk.name}: {path.name} does not lie on {under.name}", subject=f"disk {disk.name}")
    name = os.path.relpath(under, path.parent) if under else ""
    job = f"{MERGES}{disk.id}-{layer}"
    if node != written:
        identity.give_to_machine(run.folder.path, path)
    try:
        command = stream(job, node, base, name, _PACE_BYTES_PER_S)
        await follow(run.monitor, job, command, f"disk {disk.name}", progress, flush(node))
    finally:
        if node != written:
            identity.let_read(run.folder.path, path)
    await forget_unused(run, files, disk, device)
    return True
