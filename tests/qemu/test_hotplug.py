"""What a running QEMU is told, message by message."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from tests.golden.golden import Golden
from tests.qemu.scenarios import FOLDER, IMAGE, MACHINE_TYPE, disk, nic

from guesthouse.model.errors import Failed
from guesthouse.model.machine import Bus, DiskFormat, Forward, MachineSpec, NicModel
from guesthouse.qemu import hotplug, migration, nodes, streaming
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.devices import Mapping, Seed
from guesthouse.qemu.messages import PAUSE, Command
from guesthouse.qemu.place import SEED_SEAT, place

SPEC = MachineSpec(name="first", nics=(nic(1),))
LIVE = place(SPEC, machine_type=MACHINE_TYPE)
DISK, UNIT = disk(1), disk(2, bus=Bus.SCSI, thin=False)
FULL = place(
    msgspec.structs.replace(SPEC, disks=(DISK, UNIT), nics=(nic(1), nic(2, NicModel.E1000))),
    LIVE,
    machine_type=MACHINE_TYPE,
)
FILE = DiskFile(FOLDER / "disk.qcow2", backing=DiskFile(IMAGE, backing=DiskFile(FOLDER / "base.raw", DiskFormat.RAW)))
RAW = DiskFile(FOLDER / "unit.raw", DiskFormat.RAW)
FORWARD = Forward(guest_port=22, host_port=2222)
NEW_LAYER = f"{FULL.disk(DISK.disk).node}-s1"
SEED = Seed(id="seed", seat=SEED_SEAT)
MAC, E1000 = nic(1).mac, nic(2).mac

MESSAGES: dict[str, Callable[[], tuple[Command, ...]]] = {
    "plug-disk": lambda: hotplug.plug_disk(FULL, DISK.disk, FILE, live=LIVE),
    "plug-first-scsi-disk": lambda: hotplug.plug_disk(FULL, UNIT.disk, RAW, live=LIVE),
    "unplug-disk": lambda: (hotplug.unplug_disk(FULL, DISK.disk), nodes.forget(FULL.disk(DISK.disk).node)),
    "grow-disk": lambda: (hotplug.grow_disk(FULL.disk(DISK.disk).node, 1 << 30),),
    "plug-nic": lambda: hotplug.plug_nic(FULL, E1000, "first"),
    "unplug-nic": lambda: (hotplug.unplug_nic(FULL, E1000), hotplug.forget_nic(FULL, E1000)),
    "forward": lambda: (hotplug.forward_add(FULL, MAC, FORWARD), hotplug.forward_remove(FULL, MAC, FORWARD)),
    "plug-seed": lambda: hotplug.plug_seed(SEED, FOLDER / "seed.iso"),
    "freeze": lambda: (PAUSE, migration.capabilities(migration.MEMORY_STAYS), migration.save("state")),
    "restore": lambda: (migration.capabilities(migration.MEMORY_STAYS), migration.restore(14)),
    "save-and-switch": lambda: (
        migration.capabilities(migration.WAITS_BEFORE_END),
        migration.parameters(40),
        nodes.add_layer(FULL.disk(DISK.disk), NEW_LAYER, DiskFile(FOLDER / "disk.new.qcow2")),
        migration.save("state"),
        nodes.switch({FULL.disk(DISK.disk).node: NEW_LAYER}),
        migration.GO_ON,
        migration.CANCEL,
    ),
    "merge": lambda: (
        nodes.written_to(FULL.disk(DISK.disk)),
        nodes.NODES,
        streaming.stream("merge-1", NEW_LAYER, f"{NEW_LAYER}-b1", "disk.qcow2", 64 << 20),
        streaming.stream("merge-1", NEW_LAYER, "", ""),
        streaming.flush(NEW_LAYER),
        streaming.finalize("merge-1"),
        streaming.cancel("merge-1"),
        streaming.dismiss("merge-1"),
        nodes.forget(NEW_LAYER),
    ),
    "balloon": lambda: (hotplug.balloon(384),),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_messages_are_the_approved_ones(name: str, golden: Golden) -> None:
    lines = [json.dumps({"execute": one.name, "arguments": one.arguments}) for one in MESSAGES[name]()]
    golden(f"qemu/{name}.qmp", "\n".join(lines) + "\n")


def test_a_forward_that_qemu_refuses_is_an_error_with_its_words() -> None:
    hotplug.check_forward("\r\n", FORWARD)
    with pytest.raises(Failed, match="2222 could not be forwarded: Could not set up") as caught:
        hotplug.check_forward("Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'\r\n", FORWARD)
    assert caught.value.field == "forwards"


def test_names_of_block_nodes_are_short_enough_for_qemu() -> None:
    def names(node: Mapping) -> list[str]:
        below = [name for part in node.values() if isinstance(part, dict) for name in names(part)]
        return [node["node-name"], *below] if "node-name" in node else below

    (added, _) = hotplug.plug_disk(FULL, DISK.disk, FILE, live=LIVE)
    found = names(added.arguments)
    assert len(found) == len(set(found)) == 6
    assert all(len(name) <= 31 for name in found)
