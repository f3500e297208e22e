"""What the engine does with a machine's snapshots, for tests of the host alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from tests.host.boxes import attach, changed, folder_of, new_id
from tests.host.guests import Guest
from tests.host.shelves import Shelf, configured

from guesthouse.decide.layers import pruned, with_layer
from guesthouse.decide.observed import Desired, Observed, ProcessSeen
from guesthouse.host.local import open_host
from guesthouse.host.snapshots.folder import SnapshotFolder
from guesthouse.model.machine import Bus, Power
from guesthouse.model.resources import Disk, Held, Snapshot, SnapshotState

# A program's start is dear on an emulated processor: the shell counts by itself, ten times a second, and writes its
# number over the last one, which is as long.
_FIRST = 10_000_000
_COUNT = f"i={_FIRST}; while sleep 0.1; do i=$((i+1)); echo $i 1<>/run/count; done"
_GOES_ON = "read was </run/count; is=$was; until [ $is -gt $was ]; do sleep 0.02; read is </run/count; done"
# What `disk` finds a block device by: its serial number, wherever its bus shows it.
_FIND = """while true; do for path in /sys/class/block/*; do
if grep -qs {serial} $path/serial || grep -qs {serial} $path/device/vpd_pg80; then echo /dev/${{path##*/}}; exit; fi
done; sleep 0.05; done"""


def taking(desired: Desired, name: str = "one", **values: Any) -> tuple[Desired, Snapshot]:
    """The machine when a snapshot of it is wanted, and the snapshot."""
    machine = desired.machine
    snapshot = Snapshot(
        **{
            "id": new_id(),
            "project": machine.project,
            "machine": machine.id,
            "name": name,
            "parent": machine.snapshot,
            "power": machine.power,
            "memory": machine.power is not Power.STOPPED,
            "settle": False,
            "spec": machine.spec,
            "disks": {disk.id: Held(layer=disk.layer, size_mib=disk.size_mib) for disk in desired.disks},
            **values,
        }
    )
    layer = snapshot.id[:8]
    disks = tuple(msgspec.structs.replace(disk, **with_layer(disk, layer, disk.layer)) for disk in desired.disks)
    wanted = replace(changed(desired, disks=disks), snapshots=(*desired.snapshots, snapshot))
    return wanted, snapshot


def taken(desired: Desired, snapshot: Snapshot) -> Desired:
    """The machine when the snapshot is there: it stands on it."""
    ready = msgspec.structs.replace(snapshot, state=SnapshotState.READY)
    return _with(changed(desired, snapshot=snapshot.id), snapshot, ready)


def reverting(desired: Desired, snapshot: Snapshot, power: Power | None = None) -> Desired:
    """The machine when it is wanted as it was."""
    power = snapshot.power if power is None else power
    layer, known = new_id()[:8], {disk.id: disk for disk in (*desired.disks, *desired.aside)}
    disks = tuple(
        msgspec.structs.replace(known[id], size_mib=held.size_mib, **with_layer(known[id], layer, held.layer))
        for id, held in snapshot.disks.items()
    )
    epoch = desired.machine.restart_epoch + 1
    memory = snapshot.memory and power is not Power.STOPPED
    wanted = changed(
        desired,
        disks=disks,
        spec={name: getattr(snapshot.spec, name) for name in snapshot.spec.__struct_fields__},
        power=power,
        restart_epoch=epoch,
        restore_epoch=epoch,
        restore=snapshot.id if memory else "",
        snapshot=snapshot.id,
        stop_timeout_s=0,
    )
    aside = tuple(disk for id, disk in known.items() if id not in snapshot.disks)
    return tidy(replace(wanted, aside=aside))


def deleting(desired: Desired, snapshot: Snapshot) -> Desired:
    """The machine when a snapshot is to go."""
    going = msgspec.structs.replace(snapshot, state=SnapshotState.DELETING)
    return tidy(_with(desired, snapshot, going))


def without(desired: Desired, snapshot: Snapshot) -> Desired:
    """The machine when it has gone."""
    return _with(desired, snapshot, None)


def tidy(desired: Desired) -> Desired:
    """The machine with the layers that snapshots and it itself need."""
    kept = [snapshot for snapshot in desired.snapshots if snapshot.state is not SnapshotState.DELETING]

    def pruning(disk: Disk) -> Disk:
        held = {snapshot.disks[disk.id].layer for snapshot in kept if disk.id in snapshot.disks}
        return msgspec.structs.replace(disk, layers=dict(pruned(disk, held)))

    return replace(desired, disks=tuple(map(pruning, desired.disks)))


def _with(desired: Desired, old: Snapshot, new: Snapshot | None) -> Desired:
    snapshots = tuple(new if each.id == old.id else each for each in desired.snapshots)
    return replace(desired, snapshots=tuple(filter(None, snapshots)))


@dataclass
class Timeline:
    """A machine that goes forth and back; `guest` is what runs in it."""

    guest: Guest

    async def take(self, name: str = "one", **values: Any) -> Snapshot:
        """Take a snapshot, whatever the machine does."""
        desired, snapshot = taking(self.guest.desired, name, **values)
        steps = await self.guest.want(desired)
        assert steps[0] == "take-snapshot"
        self.guest.desired = taken(desired, snapshot)
        return next(each for each in self.guest.desired.snapshots if each.id == snapshot.id)

    async def revert(self, snapshot: Snapshot, power: Power | None = None) -> list[str]:
        """Go back; the names of the steps."""
        return await self.guest.want(reverting(self.guest.desired, snapshot, power))

    async def delete(self, snapshot: Snapshot) -> list[str]:
        """Delete a snapshot; the names of the steps."""
        steps = await self.guest.want(deleting(self.guest.desired, snapshot))
        self.guest.desired = without(self.guest.desired, snapshot)
        return steps

    async def change(self, **spec: Any) -> list[str]:
        """Change the machine's description."""
        return await self.guest.want(changed(self.guest.desired, spec=spec))

    async def power(self, power: Power) -> list[str]:
        return await self.guest.want(changed(self.guest.desired, power=power, stop_timeout_s=0))

    async def attach(self, disk: Disk, bus: Bus = Bus.VIRTIO) -> list[str]:
        """Attach one more disk while the machine runs."""
        desired = self.guest.desired
        spec = {"disks": (*desired.machine.spec.disks, attach(disk, bus=bus))}
        return await self.guest.want(changed(desired, disks=(*desired.disks, disk), spec=spec))

    async def shell(self, line: str) -> str:
        return await self.guest.run("sh", "-c", line)

    async def write(self, disk: Disk, words: str, at_mib: int = 0) -> None:
        """Write words to a place on a disk, past the guest's cache."""
        device = await self.device(disk)
        place = f"bs=4096 seek={at_mib * 256} conv=notrunc,fsync"
        await self.shell(f"printf '%-4096s' '{words}' | dd of={device} {place} 2>/dev/null")

    async def read(self, disk: Disk, at_mib: int = 0) -> str:
        """The words at a place on a disk, as the disk has them."""
        device = await self.device(disk)
        place = f"bs=4096 skip={at_mib * 256} count=1"
        said = await self.shell(f"echo 3 >/proc/sys/vm/drop_caches; dd if={device} {place} 2>/dev/null | tr -d '\\0'")
        return said.strip()

    async def device(self, disk: Disk) -> str:
        return (await self.shell(_FIND.format(serial=disk.id.replace("-", "")[:20]))).strip()

    def layers(self, disk: Disk) -> set[str]:
        """The names of the files of a disk."""
        return {path.name.removeprefix(f"{disk.id}.") for path in self.guest.house.disks.glob(f"{disk.id}.*")}


@asynccontextmanager
async def a_timeline(shelf: Shelf, *disks: tuple[Disk, Bus], **spec: Any) -> AsyncIterator[Timeline]:
    """A configured machine with these disks, in which a program counts."""
    async with open_host(shelf.house) as host, configured(shelf, host, shelf.fork(disks=disks, **spec)) as guest:
        line = Timeline(guest)
        await start_counting(line)
        yield line


async def start_counting(line: Timeline) -> None:
    await line.shell(
        f"setsid sh -c '{_COUNT}' >/dev/null 2>&1 </dev/null & until [ -s /run/count ]; do sleep 0.02; done"
    )


async def observe(line: Timeline) -> Observed:
    return await line.guest.host.machines.observe(line.guest.desired)


async def process_of(line: Timeline) -> ProcessSeen:
    observed = await observe(line)
    assert observed.process is not None
    return observed.process


async def count(line: Timeline) -> int:
    """How far the program in the guest has come."""
    return int(await line.shell("cat /run/count")) - _FIRST


async def counts(line: Timeline) -> None:
    """The program in the guest goes on."""
    await line.shell(_GOES_ON)


def folder(line: Timeline, snapshot: Snapshot) -> SnapshotFolder:
    return SnapshotFolder(line.guest.house.snapshots / snapshot.id)


def leftovers(line: Timeline) -> list[str]:
    house, machine = line.guest.house, folder_of(line.guest.house, line.guest.desired)
    found = [*house.disks.glob("*.partial"), *house.snapshots.glob(".*"), *machine.path.glob("snapshotting*")]
    return [path.name for path in found]
