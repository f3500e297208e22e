"""The layers of disks as a running QEMU has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import NamedTuple

from guesthouse.host.disks import DiskFiles
from guesthouse.host.machines.qmp import Refused
from guesthouse.host.machines.run import Run
from guesthouse.model.resources import Disk
from guesthouse.qemu.devices import DiskDevice
from guesthouse.qemu.nodes import NODES, Nodes, forget, nodes_of, written_to


class Written(NamedTuple):
    """Where a disk's device writes to, and all nodes that there are of the disk."""

    node: str
    nodes: Nodes


async def look(run: Run, device: DiskDevice) -> Written:
    """Ask QEMU for a disk that it has."""
    node = await run.monitor.execute(written_to(device))
    return Written(str(node), await all_nodes(run, device))


async def all_nodes(run: Run, device: DiskDevice) -> Nodes:
    """The nodes of a disk, also of one whose device is gone already, or not there yet."""
    return nodes_of(device, await run.monitor.execute(NODES))


async def written_layers(run: Run, files: DiskFiles, disks: Iterable[Disk]) -> dict[str, str]:
    """The layers that QEMU writes to, by the ids of the disks that it has."""
    has = {disk.disk for disk in run.record.spec.disks}
    devices = [(disk, run.record.placed.disk(disk.id)) for disk in disks if disk.id in has]
    if not devices:
        return {}
    told = await run.monitor.execute(NODES)
    layers: dict[str, str] = {}
    for disk, device in devices:
        try:
            node = await run.monitor.execute(written_to(device))
        except Refused:
            continue  # the guest has let go of it, and nobody has taken note of that yet
        path = nodes_of(device, told).files.get(str(node))
        if path is not None and (layer := files.layers.layer(disk, path.name)) is not None:
            layers[disk.id] = layer
    return layers


async def forget_all(run: Run, device: DiskDevice) -> None:
    """Close all layers of a disk that nothing uses any more."""
    await _forget(run, (await all_nodes(run, device)).added)


async def forget_unused(run: Run, files: DiskFiles, disk: Disk, device: DiskDevice) -> None:
    """Close the layers that a merge has taken out from under a disk."""
    node, nodes = await look(run, device)
    layer = files.layers.layer(disk, nodes.files[node].name)
    there, used = files.layers.find(disk), set()
    while layer is not None:
        used.add(files.layers.path(disk, layer))
        layer = there.get(layer)
    await _forget(run, tuple(name for name in nodes.added if nodes.files[name] not in used))


async def _forget(run: Run, names: Iterable[str]) -> None:
    """Close nodes, each when no other stands on it; what something else uses stays."""
    left = list(names)
    while left:
        staying = [name for name in left if not await _closes(run, name)]
        if len(staying) == len(left):
            return
        left = staying


async def _closes(run: Run, name: str) -> bool:
    with contextlib.suppress(Refused):
        await run.monitor.execute(forget(name))
        return True
    return False
