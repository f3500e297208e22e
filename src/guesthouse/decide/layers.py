"""The layers of disks: which there should be, and what leads there.

Rules
-----
1. Layers are a tree: each is a file on the one under it; only the top one of a machine's present state is written to.
   None is ever renamed, and nobody writes to a layer that another one stands on.
2. A layer is kept while it is written to, a snapshot holds it, two others stand on it, or one stands on it and another
   disk has it, too: a copy of it would cost what sharing it saves. One that a single other stands on is else merged
   into that, whose content stays the same; one that none stands on is removed.
3. The lowest layer of a raw disk stays: its content cannot go up into a layer without changing the disk's format.
4. What is written to has at most `DEEPEST` layers under it: it takes in what else lies between it and the image.
5. Nothing is merged into a layer that another disk has, too.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from guesthouse.decide.observed import DiskSeen
from guesthouse.decide.steps import MergeLayer, RemoveLayer, Step
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk

Layers = Mapping[str, str | None]
FIRST = ""
DEEPEST = 3
_ALONE: Layers = {FIRST: None}


def layers_of(disk: Disk) -> Layers:
    """The layers of a disk, each with the one under it; also of one that was never in a snapshot."""
    return disk.layers or _ALONE


def downward(layers: Layers, top: str) -> Iterator[str]:
    """A layer and all that lie under it, from the top."""
    layer: str | None = top
    while layer is not None:
        yield layer
        layer = layers[layer]


def with_layer(disk: Disk, layer: str, on: str) -> dict[str, object]:
    """The columns of a disk that from now on is written to in a new layer on another one."""
    return {"layer": layer, "layers": {**layers_of(disk), layer: on}}


def pruned(disk: Disk, held: Container[str]) -> Layers:
    """The layers that are to be kept of a disk of which snapshots have those in `held` (rules 2 to 4)."""
    layers = dict(layers_of(disk))
    _drop_idle(disk, layers, held)
    if len(list(downward(layers, disk.layer))) - 1 > DEEPEST:
        layers[disk.layer] = FIRST if disk.format is DiskFormat.RAW else None
        _drop_idle(disk, layers, held)
    return layers


def _drop_idle(disk: Disk, layers: dict[str, str | None], held: Container[str]) -> None:
    while (idle := next((layer for layer in layers if _is_idle(disk, layers, layer, held)), None)) is not None:
        under = layers.pop(idle)
        for layer, on in layers.items():
            if on == idle:
                layers[layer] = under


def _is_idle(disk: Disk, layers: Layers, layer: str, held: Container[str]) -> bool:
    if layer == disk.layer or layer in held or (layer == FIRST and disk.format is DiskFormat.RAW):
        return False
    return sum(under == layer for under in layers.values()) < (1 if layer in disk.shared else 2)


def upkeep_of(disk: Disk, seen: DiskSeen, written: str | None) -> Iterator[Step]:
    """The steps by which the files of a disk become what is wanted; `written` is the layer that a process writes to."""
    wanted = layers_of(disk)
    for layer, under in wanted.items():
        if layer in seen.layers and seen.layers[layer] != under and layer not in seen.shared:
            yield MergeLayer(disk, layer)
    in_use = set(downward(seen.layers, written)) if written in seen.layers else set()
    on_others = set(seen.layers.values())
    for layer in seen.layers:
        if layer not in wanted and layer not in in_use and layer not in on_others:
            yield RemoveLayer(disk, layer)
