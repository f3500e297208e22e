"""What to tell a running QEMU so that it changes: disks, NICs, port forwards, memory.

Rules
-----
1. Two trees are at hand: `live`, which QEMU has, and `placed`, which it is to have (``place(spec, live)``).
2. Plugging is a sequence of commands; when one fails, `nodes.forget` or `forget_nic` undoes those before it.
3. Unplugging is a request: the guest lets go, QEMU says ``DEVICE_DELETED`` with the device's id, and only then
   is the backend free (`nodes.forget`, `forget_nic`). A guest that refuses makes QEMU say
   ``DEVICE_UNPLUG_GUEST_ERROR``; one that does not run says nothing.
"""

from __future__ import annotations

from pathlib import Path

from guesthouse.model.errors import Failed
from guesthouse.model.machine import Forward
from guesthouse.qemu.block import DiskFile, blockdev
from guesthouse.qemu.devices import NicDevice, ScsiDisk, Seed
from guesthouse.qemu.messages import Command
from guesthouse.qemu.placed import Placed

LOOPBACK = "127.0.0.1"


def plug_disk(placed: Placed, disk: str, file: DiskFile, *, live: Placed) -> tuple[Command, ...]:
    """Attach a disk resource; the first SCSI disk brings its controller. Raises `NotFound`."""
    device = placed.disk(disk)
    commands = [Command("blockdev-add", blockdev(device, file))]
    if isinstance(device, ScsiDisk) and live.scsi is None and placed.scsi is not None:
        commands.append(Command("device_add", placed.scsi.mapping()))
    return (*commands, Command("device_add", device.mapping()))


def unplug_disk(live: Placed, disk: str) -> Command:
    """Ask the guest to let go of a disk."""
    return Command("device_del", {"id": live.disk(disk).id})


def grow_disk(node: str, size_bytes: int) -> Command:
    """Make a disk larger, by the node that is written to; the guest sees the new size at once."""
    return Command("block_resize", {"node-name": node, "size": size_bytes})


def plug_seed(seed: Seed, path: Path) -> tuple[Command, ...]:
    """Attach the seed to a machine that was frozen before it had one."""
    return Command("blockdev-add", seed.blockdev(path)), Command("device_add", seed.mapping())


def plug_nic(placed: Placed, mac: str, hostname: str) -> tuple[Command, ...]:
    """Attach a NIC with its network; port forwards follow with `forward_add`.

    QEMU was given the descriptor of its TAP under the name of its other end (`NicDevice.netdev`), if it has one.
    """
    nic = placed.nic(mac)
    return Command("netdev_add", nic.backend(hostname, nic.netdev)), Command("device_add", nic.mapping())


def unplug_nic(live: Placed, mac: str) -> Command:
    """Ask the guest to let go of a NIC."""
    return Command("device_del", {"id": live.nic(mac).id})


def forget_nic(placed: Placed, mac: str) -> Command:
    """Take a NIC's network away, with all its forwards, once its device is gone."""
    return Command("netdev_del", {"id": placed.nic(mac).netdev})


def set_link(nic: NicDevice, *, up: bool) -> Command:
    """Plug a NIC's cable in, or pull it out: the guest sees it."""
    return Command("set_link", {"name": nic.id, "up": up})


def forward_add(live: Placed, mac: str, forward: Forward) -> Command:
    """Lead a port of the host's loopback to the guest; check the reply with `check_forward`."""
    rule = f"{_listening(forward)}-:{forward.guest_port}"
    return _monitor(f"hostfwd_add {live.nic(mac).netdev} {rule}")


def forward_remove(live: Placed, mac: str, forward: Forward) -> Command:
    """Lead a port no longer; it does no harm where there is no such forward."""
    return _monitor(f"hostfwd_remove {live.nic(mac).netdev} {_listening(forward)}")


def check_forward(reply: str, forward: Forward) -> None:
    """Raise `Failed` unless `reply`, the text that came back for `forward_add`, is empty."""
    if said := reply.strip():
        raise Failed(
            f"port {forward.host_port} could not be forwarded: {said}",
            field="forwards",
            value=forward.host_port,
            hint="the port may be in use; choose another, or 0 to have one chosen",
        )


def balloon(memory_mib: int) -> Command:
    """Let the guest have `memory_mib`; at most what it was started with."""
    return Command("balloon", {"value": memory_mib << 20})


def _listening(forward: Forward) -> str:
    return f"{forward.protocol}:{LOOPBACK}:{forward.host_port}"


def _monitor(line: str) -> Command:
    """A line of the human monitor: QMP has no command of its own for forwards."""
    return Command("human-monitor-command", {"command-line": line})
