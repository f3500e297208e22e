"""Plugging and unplugging disks and NICs of a running machine.

Rules
-----
1. QEMU is asked what it has: a device that is there already, or gone already, is not plugged or unplugged twice.
2. A plug that fails half-way is taken apart again.
3. An unplug is the guest's to grant. One that it does not grant in time is `TimedOut` and changes nothing; should
   the guest let go later, the next try only has to clean up.
4. A NIC is known by its MAC address, wherever it is. One that a broken-off plug has left is taken for the wanted one
   only if it was to be in that very place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from guesthouse.decide.plan import is_moved
from guesthouse.host.machines.folder import Record
from guesthouse.host.machines.layering import forget_all
from guesthouse.host.machines.qmp import Refused
from guesthouse.host.machines.run import Run
from guesthouse.model.errors import NotFound, TimedOut
from guesthouse.model.machine import DiskSpec, MachineSpec, NicSpec
from guesthouse.qemu import hotplug, networks
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.messages import Command
from guesthouse.qemu.nodes import forget
from guesthouse.qemu.place import place
from guesthouse.qemu.placed import Placed

_UNPLUG_TIMEOUT_S = 60.0
_ASK_AGAIN_S = 1.0
_PERIPHERALS = Command("qom-list", {"path": "/machine/peripheral"})


async def plug_disk(run: Run, disk: DiskSpec, file: DiskFile) -> None:
    """Attach a disk; the guest sees it at once."""
    spec = msgspec.structs.replace(run.record.spec, disks=(*run.record.spec.disks, disk))
    placed, devices = _place(run.record, spec), await _devices(run)
    if placed.disk(disk.disk).id not in devices:
        device = placed.disk(disk.disk)
        await forget_all(run, device)
        live = _only(run.record.placed, devices)
        run.remember(msgspec.structs.replace(run.record, placed=placed))
        await _all_or_nothing(run, hotplug.plug_disk(placed, disk.disk, file, live=live), forget(device.node))
    _realise(run, spec)


async def unplug_disk(run: Run, disk: DiskSpec) -> None:
    """Detach a disk; raises `TimedOut` when the guest does not let go."""
    live = run.record.placed
    with contextlib.suppress(NotFound):
        await _let_go(run, live.disk(disk.disk).id, hotplug.unplug_disk(live, disk.disk), f"disk {disk.name}")
        await forget_all(run, live.disk(disk.disk))
    disks = tuple(has for has in run.record.spec.disks if has.disk != disk.disk)
    _realise(run, msgspec.structs.replace(run.record.spec, disks=disks))


async def plug_nic(run: Run, nic: NicSpec, hostname: str, taps: Mapping[str, int]) -> None:
    """Attach a NIC, as yet without forwards; one on a network with its descriptor in `taps`, by MAC address."""
    bare = msgspec.structs.replace(nic, forwards=())
    if nic.mac in run.record.plugged and is_moved(run.record.plugged[nic.mac], bare):
        await unplug_nic(run, nic)
    spec = msgspec.structs.replace(run.record.spec, nics=(*run.record.spec.nics, bare))
    placed = _place(run.record, spec)
    if placed.nic(nic.mac).id not in await _devices(run):
        undo = hotplug.forget_nic(placed, nic.mac)
        await _undo(run, undo)
        numbers = _numbers(run, without=nic.mac)
        if not nic.network:
            numbers = networks.with_one_more(numbers, nic.mac)
        plugged = {**run.record.plugged, nic.mac: bare}
        run.remember(msgspec.structs.replace(run.record, placed=placed, networks=numbers, plugged=plugged))
        if nic.mac in taps:
            await run.monitor.give(taps[nic.mac], placed.nic(nic.mac).netdev)
        await _all_or_nothing(run, hotplug.plug_nic(placed, nic.mac, hostname), undo)
    _realise(run, spec)


async def unplug_nic(run: Run, nic: NicSpec) -> None:
    """Detach a NIC and its forwards; raises `TimedOut` when the guest does not let go."""
    live = run.record.placed
    with contextlib.suppress(NotFound):
        await _let_go(run, live.nic(nic.mac).id, hotplug.unplug_nic(live, nic.mac), f"NIC {nic.mac}")
        await _undo(run, hotplug.forget_nic(live, nic.mac))
    nics = tuple(has for has in run.record.spec.nics if has.mac != nic.mac)
    forwards = {mac: row for mac, row in run.record.forwards.items() if mac != nic.mac}
    plugged = {mac: row for mac, row in run.record.plugged.items() if mac != nic.mac}
    numbers = _numbers(run, without=nic.mac)
    run.remember(msgspec.structs.replace(run.record, forwards=forwards, networks=numbers, plugged=plugged))
    _realise(run, msgspec.structs.replace(run.record.spec, nics=nics))


async def live_tree(run: Run) -> Placed:
    """The tree that QEMU has, without what a killed daemon had only meant to plug."""
    return _only(run.record.placed, await _devices(run))


def _numbers(run: Run, *, without: str) -> dict[str, int]:
    """The numbers of the networks that there are beside this one."""
    return {mac: number for mac, number in run.record.networks.items() if mac != without}


async def _devices(run: Run) -> set[str]:
    return {item["name"] for item in await run.monitor.execute(_PERIPHERALS)}


async def _undo(run: Run, command: Command) -> None:
    """Clear away what may be there from a try before."""
    with contextlib.suppress(Refused):
        await run.monitor.execute(command)


async def _all_or_nothing(run: Run, commands: Iterable[Command], undo: Command) -> None:
    try:
        for command in commands:
            await run.monitor.execute(command)
    except Refused:
        await _undo(run, undo)
        raise


async def _let_go(run: Run, device: str, command: Command, what: str) -> None:
    """Have the guest let go of a device; one that is gone already needs nothing.

    A guest that still boots never hears of the request: its ACPI, or its PCIe hot-plug driver, is not there yet, and
    forgets what was asked before. No event tells when it is, so it is asked again and again; QEMU passes a second
    request on, or refuses it while the guest is busy with the first (the slot's power indicator blinks).
    """
    with run.monitor.listen("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR") as next_event:
        if device not in await _devices(run):
            return
        event, refusal = None, ""
        try:
            async with asyncio.timeout(_UNPLUG_TIMEOUT_S):
                while event is None:
                    refusal = await _refusal(run, command)
                    event = await _within(next_event, device, _ASK_AGAIN_S)
        except TimeoutError as error:
            raise _kept(what, f"does not let go of {what}{refusal and f' ({refusal})'}") from error
        if event["event"] != "DEVICE_DELETED":
            raise _kept(what, f"refuses to let go of {what}")


async def _refusal(run: Run, command: Command) -> str:
    """What QEMU says against a command; nothing when it does it."""
    try:
        await run.monitor.execute(command)
    except Refused as error:
        return str(error)
    return ""


async def _within(next_event: Callable[[], Any], device: str, seconds: float) -> Any:
    """The next event about this device, None when there is none in that time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (event := await next_event())["data"].get("device") != device:
                pass
            return event
    return None


def _kept(what: str, how: str) -> TimedOut:
    return TimedOut(
        f"the guest {how}; it stays attached",
        subject=what,
        hint="unmount it in the guest and see that the guest has booted, or stop the machine first",
    )


def _place(record: Record, spec: MachineSpec) -> Placed:
    """The tree with another set of disks and NICs; memory stays that of the start, whatever the balloon holds."""
    live = record.placed
    placed = place(spec, live, machine_type=live.machine_type)
    return msgspec.structs.replace(placed, memory_mib=live.memory_mib)


def _only(placed: Placed, devices: set[str]) -> Placed:
    """The tree without what a killed daemon had only meant to plug."""
    there = tuple(device for device in placed.devices if device.id in devices)
    return msgspec.structs.replace(placed, devices=there)


def _realise(run: Run, spec: MachineSpec) -> None:
    """Remember what QEMU has now; devices that went free their seats."""
    run.remember(msgspec.structs.replace(run.record, spec=spec, placed=_place(run.record, spec)))
