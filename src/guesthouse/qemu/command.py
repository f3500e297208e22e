"""QEMU's command line: `command(placed, boot)`.

Rules
-----
1. Nothing comes by default: ``-nodefaults -no-user-config``; every device is one of `placed`, at its address.
2. What QEMU takes as JSON is given as JSON; in the older ``key=value`` syntax a comma is doubled.
3. The vCPUs stand still at first (``-S``): ports are forwarded and the machine is adopted before they run.
4. A guest that powers itself off leaves QEMU standing (``shutdown=pause``): the daemon tells it from a crash
   by its run state and then quits it. A reboot is a reset.
5. QEMU is confined: no new privileges, no child process (``-sandbox``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from guesthouse.model.errors import Invalid, NotFound
from guesthouse.qemu import networks, smbios
from guesthouse.qemu.block import DiskFile, blank, blockdev
from guesthouse.qemu.boot import Bios, Boot, Direct, Uefi
from guesthouse.qemu.devices import Mapping, Screen, Seed
from guesthouse.qemu.placed import Placed

Options = Iterator[tuple[str, ...]]

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class Accelerator(NamedTuple):
    """How vCPUs run, and the CPU that the guest sees."""

    options: str
    cpu: str


ACCELERATORS: dict[str, Accelerator] = {
    "kvm": Accelerator("kvm", "host"),
    "tcg": Accelerator("tcg,thread=multi,tb-size={translation_mib}", "max"),
}


def command(placed: Placed, boot: Boot) -> tuple[str, ...]:
    """The argument list, program first, every option next to its value.

    Raises `NotFound` when `boot` lacks the file of a disk, `NoCapacity` when this QEMU lacks the machine type
    or a device.
    """
    boot.capabilities.machine_type(placed.machine_type)
    boot.capabilities.require(device.driver for device in placed.devices)
    parts = (_identity, _machine, _firmware, _channels, _screen, _backends, _devices)
    return (boot.binary, *(word for part in parts for option in part(placed, boot) for word in option))


def _identity(placed: Placed, boot: Boot) -> Options:
    yield ("-name", _words(guest=boot.name, process=f"guest-{boot.name}", **{"debug-threads": "on"}))
    yield ("-uuid", smbios.uuid(boot.id, boot.datasource))
    yield ("-smbios", _words("type=1", **smbios.system(boot.id, boot.datasource, boot.family)))
    yield ("-nodefaults",)
    yield ("-no-user-config",)
    yield ("-S",)
    if boot.incoming:
        yield ("-incoming", "defer")
    yield ("-sandbox", SANDBOX)
    yield ("-action", "reboot=reset,shutdown=pause,panic=pause")
    yield ("-msg", "timestamp=on")
    yield ("-pidfile", str(boot.pidfile))


def _machine(placed: Placed, boot: Boot) -> Options:
    row = ACCELERATORS[boot.accelerator]
    screen = any(isinstance(device, Screen) for device in placed.devices)
    machine = {
        "memory-backend": "ram",
        "usb": "off",
        "vmport": "off",
        "hpet": "off",
        "smm": "off",
        "dump-guest-core": "off",
        # A BIOS without a screen says on the serial console why it cannot start.
        "graphics": "off" if isinstance(boot.firmware, Bios) and not screen else "on",
    }
    if isinstance(boot.firmware, Uefi):
        machine |= {"pflash0": "uefi-code", "pflash1": "uefi-variables"}
    yield ("-machine", _words(placed.machine_type, **machine))
    yield ("-accel", row.options.format(translation_mib=boot.translation_mib))
    yield ("-cpu", row.cpu)
    yield ("-smp", f"cpus={placed.vcpus},sockets=1,cores={placed.vcpus},threads=1")
    yield ("-m", f"size={placed.memory_mib}M")
    yield ("-object", _json({**_memory(boot), "id": "ram", "size": placed.memory_mib << 20}))
    yield ("-rtc", "base=utc,driftfix=slew")
    # A guest that sleeps would need somebody to wake it: it has no such states.
    yield ("-global", "ICH9-LPC.disable_s3=1")
    yield ("-global", "ICH9-LPC.disable_s4=1")


def _memory(boot: Boot) -> Mapping:
    if boot.memory is None:
        # Private anonymous memory: the balloon and free page reporting give it back with madvise(2), and the
        # kernel may use huge pages for it, which it does not for shared memory (memfd).
        return {"qom-type": "memory-backend-ram"}
    return {"qom-type": "memory-backend-file", "mem-path": str(boot.memory.path), "share": boot.memory.shared}


def _firmware(placed: Placed, boot: Boot) -> Options:
    yield ("-boot", "menu=off,strict=on")
    match boot.firmware:
        case Direct(kernel, initrd, cmdline):
            yield ("-kernel", str(kernel))
            if initrd is not None:
                yield ("-initrd", str(initrd))
            yield ("-append", cmdline)
        case Uefi(code, variables):
            yield ("-blockdev", _json(_flash("uefi-code", code, read_only=True)))
            yield ("-blockdev", _json(_flash("uefi-variables", variables, read_only=False)))


def _flash(node: str, path: Path, *, read_only: bool) -> Mapping:
    file = {"driver": "file", "filename": str(path), "read-only": read_only}
    return {"driver": "raw", "node-name": node, "read-only": read_only, "file": file}


def _channels(placed: Placed, boot: Boot) -> Options:
    """Sockets that are bound already; each takes one client at a time, and the next when that one has gone."""
    sockets = boot.sockets
    yield ("-chardev", _socket("qmp", sockets.qmp))
    yield ("-mon", "chardev=qmp,mode=control")
    yield ("-chardev", _socket("console", sockets.console, logfile=str(boot.console_log), logappend="on"))
    yield ("-chardev", _socket("report", sockets.report))
    if placed.get("agent-channel") is not None:
        yield ("-chardev", _socket("agent", sockets.agent))


def _socket(id: str, fd: int, **more: str) -> str:
    return _words("socket", id=id, fd=str(fd), server="on", wait="off", **more)


def _screen(placed: Placed, boot: Boot) -> Options:
    if not any(isinstance(device, Screen) for device in placed.devices):
        yield ("-display", "none")
    elif boot.screen is None:
        raise Invalid("a machine with a screen needs a socket for it", field="screen")
    else:
        yield ("-display", _words(f"vnc=unix:{_escaped(boot.screen)}", share="force-shared"))


def _backends(placed: Placed, boot: Boot) -> Options:
    for device in placed.devices:
        for thing in device.objects():
            yield ("-object", _json(thing))
    for backend in networks.backends(placed, boot.name, boot.networks, boot.taps):
        yield ("-netdev", _json(backend))
    for disk in placed.disks:
        yield ("-blockdev", _json(blank(disk.node) if boot.blank else blockdev(disk, _file(boot, disk.disk))))
    if placed.get("seed") is not None:
        # What nobody can write to is another device to the guest.
        yield ("-blockdev", _json(blank("seed", read_only=True) if boot.blank else Seed.blockdev(boot.seed)))


def _file(boot: Boot, disk: str) -> DiskFile:
    if disk not in boot.disks:
        raise NotFound(f"disk {disk} has no file", field="disks", value=disk)
    return boot.disks[disk]


def _devices(placed: Placed, boot: Boot) -> Options:
    for device in placed.devices:
        yield ("-device", _json(device.mapping()))


def _words(first: str = "", **settings: str) -> str:
    """QEMU's ``key=value`` syntax, `first` as it is."""
    parts = [f"{name}={_escaped(value)}" for name, value in settings.items()]
    return ",".join([first, *parts] if first else parts)


def _escaped(value: object) -> str:
    return str(value).replace(",", ",,")


def _json(mapping: Mapping) -> str:
    return json.dumps(mapping)
