"""Does the real QEMU take what we render, and does a real guest notice what we plug?"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.ports import a_port
from tests.qemu.real import Console, Machine, console, in_folder, qemu_img, started
from tests.qemu.scenarios import CAPABILITIES, MACHINE_TYPE, SCENARIOS, Scenario, disk, nic

from guesthouse.host.images.built import BuiltImage
from guesthouse.model.errors import Failed
from guesthouse.model.machine import Bus, DiskSpec, Forward, MachineSpec, NicModel, NicSpec
from guesthouse.qemu import capabilities, hotplug, messages, nodes
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.messages import Command
from guesthouse.qemu.place import place
from guesthouse.qemu.placed import Placed

pytestmark = pytest.mark.vm


@pytest.mark.parametrize("name", SCENARIOS)
async def test_qemu_takes_the_command_line(name: str, folder: Path, micro: BuiltImage) -> None:
    scenario = in_folder(SCENARIOS[name], folder, micro)
    async with started(scenario.placed, scenario.boot()) as machine:
        awaited = "inmigrate" if scenario.more.get("incoming") else "prelaunch"
        assert (await machine.tell(messages.STATUS))["status"] == awaited
        devices = await machine.tell(Command("qom-list", {"path": "/machine/peripheral"}))
        assert {device["name"] for device in devices} - {"type"} == {device.id for device in scenario.placed.devices}


async def test_what_qemu_tells_of_itself_is_understood(folder: Path, micro: BuiltImage) -> None:
    scenario = in_folder(SCENARIOS["bare"], folder, micro)
    async with started(scenario.placed, scenario.boot()) as machine:
        assert machine.qmp.greeting is not None
        able = capabilities.parse(
            machine.qmp.greeting._asdict(),
            await machine.tell(messages.MACHINES),
            await machine.tell(messages.types()),
        )
    assert able.version >= (7, 2, 0)
    assert re.fullmatch(r"pc-q35-\d+\.\d+", able.machine_type())
    able.require(CAPABILITIES.devices)


# How the guest knows a NIC. Debian's cloud kernel has no driver for an e1000: it has it when the device's
# I/O ports, without which no driver starts it, are where they can be reached.
_SEEN = {
    NicModel.VIRTIO: "grep -q {mac} /sys/class/net/*/address",
    NicModel.E1000: "for one in /sys/bus/pci/devices/*; do"
    " grep -q 0x100e $one/device && sed -n 2p $one/resource; done | grep -qv ^0x0000000000000000",
}


class Guest:
    """A machine whose hardware changes while it runs; every change is looked at from inside."""

    def __init__(self, machine: Machine, console: Console, spec: MachineSpec, placed: Placed) -> None:
        self.machine, self.console, self.spec, self.live = machine, console, spec, placed

    def _next(self, **changes: Any) -> Placed:
        self.spec = msgspec.structs.replace(self.spec, **changes)
        return place(self.spec, self.live, machine_type=MACHINE_TYPE)

    async def plug_disk(self, new: DiskSpec) -> None:
        file = DiskFile(self.machine.folder / f"{new.disk}.qcow2")
        qemu_img("create", "-f", "qcow2", str(file.path), "64M")
        placed = self._next(disks=(*self.spec.disks, new))
        await self.machine.tell(*hotplug.plug_disk(placed, new.disk, file, live=self.live))
        self.live = placed
        await self.console.until("grep -qw 65536 /proc/partitions")

    async def grow_disk(self, old: DiskSpec) -> None:
        await self.machine.tell(hotplug.grow_disk(self.live.disk(old.disk).node, 96 << 20))
        await self.console.until("grep -qw 98304 /proc/partitions")

    async def unplug_disk(self, old: DiskSpec) -> None:
        await self.machine.unplug(hotplug.unplug_disk(self.live, old.disk))
        await self.machine.tell(nodes.forget(self.live.disk(old.disk).node))
        self.live = self._next(disks=tuple(one for one in self.spec.disks if one != old))
        await self.console.until("! grep -qwE '65536|98304' /proc/partitions")

    async def plug_nic(self, new: NicSpec) -> None:
        placed = self._next(nics=(*self.spec.nics, new))
        await self.machine.tell(*hotplug.plug_nic(placed, new.mac, self.spec.name))
        self.live = placed
        await self.console.until(_SEEN[new.model].format(mac=new.mac))

    async def unplug_nic(self, old: NicSpec) -> None:
        await self.machine.unplug(hotplug.unplug_nic(self.live, old.mac))
        await self.machine.tell(hotplug.forget_nic(self.live, old.mac))
        self.live = self._next(nics=tuple(one for one in self.spec.nics if one != old))
        await self.console.until("! { " + _SEEN[old.model].format(mac=old.mac) + "; }")


_WHERE = ("parent_bus", "addr", "lun", "nr", "bootindex", "serial")


async def tree(machine: Machine) -> dict[str, dict[str, Any]]:
    """The devices as QEMU has them: of each, by id, where it sits."""
    found: dict[str, dict[str, Any]] = {}
    for entry in await machine.tell(Command("qom-list", {"path": "/machine/peripheral"})):
        if entry["name"] != "type":
            path = f"/machine/peripheral/{entry['name']}"
            has = {one["name"] for one in await machine.tell(Command("qom-list", {"path": path}))}
            found[entry["name"]] = {
                name: await machine.tell(Command("qom-get", {"path": path, "property": name}))
                for name in _WHERE
                if name in has
            }
    return found


async def test_a_running_guest_gets_and_loses_disks_and_nics(folder: Path, micro: BuiltImage) -> None:
    scenario = in_folder(SCENARIOS["micro"], folder, micro)
    virtio, scsi, card, e1000 = disk(1), disk(2, bus=Bus.SCSI), nic(2), nic(3, NicModel.E1000)
    async with started(scenario.placed, scenario.boot()) as machine, console(folder) as shell:
        await machine.tell(messages.RESUME)
        await shell.wait(":~#")
        guest = Guest(machine, shell, scenario.spec, scenario.placed)
        for _ in range(2):
            await guest.plug_disk(virtio)
            await guest.grow_disk(virtio)
            await guest.unplug_disk(virtio)
            await guest.plug_disk(scsi)
            await guest.unplug_disk(scsi)
        await guest.plug_nic(card)
        await guest.plug_nic(e1000)
        await guest.unplug_nic(card)
        await guest.unplug_nic(e1000)
        await guest.plug_nic(e1000)
        await guest.plug_nic(card)
        await guest.plug_disk(virtio)
        await guest.plug_disk(scsi)
        grown, spec, live = await tree(machine), guest.spec, guest.live
    # A machine that starts with all that was plugged has the very tree that grew.
    (folder / f"{virtio.disk}.qcow2").unlink()
    again = folder / "again"
    again.mkdir()
    cold = in_folder(Scenario(spec, scenario.firmware), again, micro)
    async with started(live, cold.boot()) as machine:
        assert await tree(machine) == grown
        assert set(grown) == {device.id for device in live.devices}


async def test_ports_lead_to_a_running_guest_its_balloon_moves_and_it_switches_itself_off(
    folder: Path, micro: BuiltImage
) -> None:
    scenario = in_folder(SCENARIOS["micro"], folder, micro)
    mac, live = scenario.spec.nics[0].mac, scenario.placed
    async with started(live, scenario.boot()) as machine, console(folder) as shell:
        first = Forward(guest_port=22, host_port=a_port())
        hotplug.check_forward(await machine.tell(hotplug.forward_add(live, mac, first)), first)
        with pytest.raises(Failed, match=str(first.host_port)):
            hotplug.check_forward(await machine.tell(hotplug.forward_add(live, mac, first)), first)
        await machine.tell(hotplug.forward_remove(live, mac, first))
        hotplug.check_forward(await machine.tell(hotplug.forward_add(live, mac, first)), first)
        await machine.tell(messages.RESUME)
        await shell.wait(":~#")
        with machine.qmp.listener("BALLOON_CHANGE") as changes:
            await machine.tell(hotplug.balloon(112))
            async for change in changes:
                if change["data"] == {"actual": 112 << 20}:
                    break
        assert (await machine.tell(messages.BALLOON))["actual"] == 112 << 20
        with machine.qmp.listener("STOP") as stopped:
            await machine.tell(messages.POWER_DOWN)
            await stopped.get()
        # A guest that has switched itself off is told from a process that is gone.
        assert (await machine.tell(messages.STATUS))["status"] == "shutdown"


async def test_a_screen_answers_on_its_socket(folder: Path, micro: BuiltImage) -> None:
    scenario = in_folder(SCENARIOS["screen"], folder, micro)
    boot = scenario.boot()
    assert boot.screen is not None
    async with started(scenario.placed, boot):
        reader, writer = await asyncio.open_unix_connection(str(boot.screen))
        assert (await reader.readexactly(12)).startswith(b"RFB 003.")
        writer.close()
