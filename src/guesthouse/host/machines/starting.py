"""Starting a QEMU, so that a daemon killed at any point leaves either none or one that is found again.

The order is lock, sockets, record, process, greeting, forwards. `POINTS` names what lies between; a test ends the
daemon at each of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.decide.plan import Desired
from guesthouse.host import identity
from guesthouse.host.capabilities import Emulator
from guesthouse.host.disks import DiskFiles
from guesthouse.host.durable import read_from
from guesthouse.host.kvm import Kvm
from guesthouse.host.machines import firmware, qmp
from guesthouse.host.machines.folder import Folder, Record
from guesthouse.host.machines.forwarding import chosen, set_first_forwards
from guesthouse.host.machines.process import Process, prepare_files, spawn, take_lock
from guesthouse.host.machines.qmp import Gone, Monitor
from guesthouse.host.machines.runs import Runs, released
from guesthouse.model.errors import ChildFailed, TimedOut
from guesthouse.model.house import House
from guesthouse.model.machine import MachineSpec
from guesthouse.qemu.boot import Boot, Sockets
from guesthouse.qemu.capabilities import Capabilities
from guesthouse.qemu.command import command
from guesthouse.qemu.place import place

POINTS = ("locked", "bound", "recorded", "spawned", "greeted")
_SOCKETS = ("qmp", "console", "agent", "report")
_GREETING_TIMEOUT_S = 60.0
_LAST_WORDS_BYTES = 4096


@dataclass(frozen=True)
class _Bound:
    """Descriptors for QEMU to inherit: its listening sockets, and the folder in which its screen's will be."""

    sockets: Sockets
    screens: int

    @property
    def all(self) -> tuple[int, ...]:
        sockets = self.sockets
        return sockets.qmp, sockets.console, sockets.agent, sockets.report, self.screens


@dataclass(frozen=True)
class Starter:
    """What it takes to start machines. `reached` is called at every one of `POINTS`."""

    house: House
    runs: Runs
    disks: DiskFiles
    emulator: Emulator
    kvm: Kvm
    clock: Callable[[], float]
    reached: Callable[[str], None]

    async def start(self, desired: Desired) -> None:
        """Start a machine's QEMU, its vCPUs standing still, its ports forwarded; one that runs is left alone.

        Raises `ChildFailed` with QEMU's command and last words when it ends while starting, `Conflict` naming a
        port that is taken.
        """
        machine = desired.machine
        if await self.runs.find(machine.id) is not None:
            return
        folder = Folder(identity.make_machine_folder(self.house.machines, machine.id))
        identity.check_way(folder.path)
        capabilities, accelerator = await self.emulator.capabilities(), await self.kvm.accelerator()
        lock = await _lock(folder)
        try:
            self.reached("locked")
            record = self._record(desired, folder.read_record(), accelerator, capabilities)
            start_with = firmware.choose(desired, self.house, folder)
            disks = {disk.id: self.disks.file(disk, desired.images) for disk in desired.disks}
            self._hand_over(desired, folder)
            with _bind(folder) as bound:
                self.reached("bound")
                folder.write_record(record)
                self.reached("recorded")
                boot = Boot(
                    id=machine.id,
                    name=machine.spec.name,
                    accelerator=accelerator,
                    capabilities=capabilities,
                    firmware=start_with,
                    sockets=bound.sockets,
                    disks=disks,
                    seed=folder.seed,
                    console_log=folder.console_log,
                    pidfile=folder.pidfile,
                    screen=Path(f"/proc/self/fd/{bound.screens}/{folder.screen.name}"),
                    binary=self.emulator.binary,
                )
                argv, said_before = command(record.placed, boot), folder.qemu_log.stat().st_size
                who = identity.identity_of(folder.path, desired.project_number, kvm=accelerator == "kvm")
                process = spawn(argv, keep=(lock, *bound.all), log=folder.qemu_log, identity=who)
                self.reached("spawned")
        finally:
            os.close(lock)
        monitor = await _greet(argv, process, folder, said_before)
        self.reached("greeted")
        run = self.runs.hold(folder, process, monitor, record)
        for nic in machine.spec.nics:
            if nic.forwards:
                await set_first_forwards(run, nic)

    def _record(self, desired: Desired, old: Record | None, accelerator: str, capabilities: Capabilities) -> Record:
        spec = desired.machine.spec
        before = (old.forwards_before | old.forwards) if old else {}
        return Record(
            placed=place(spec, old.placed if old else None, machine_type=capabilities.machine_type()),
            spec=_without_forwards(spec),
            restart_epoch=desired.machine.restart_epoch,
            boot_memory_mib=spec.memory_mib,
            accelerator=accelerator,
            started_at=self.clock(),
            forwards={nic.mac: chosen(nic, before.get(nic.mac, ())) for nic in spec.nics if nic.forwards},
            forwards_before=before,
        )

    def _hand_over(self, desired: Desired, folder: Folder) -> None:
        """Let the machine have what is its own, and read what it shares."""
        images = {image.id: image for image in (desired.image, *desired.images) if image is not None}
        for image in images.values():
            identity.share_image(
                self.house.images / image.id, public=image.public, project_number=desired.project_number
            )
        prepare_files(folder)
        own = [
            folder.pidfile,
            folder.console_log,
            folder.screen.parent,
            *(self.disks.path(disk) for disk in desired.disks),
        ]
        if folder.variables.exists():
            own.append(folder.variables)
        identity.give_to_machine(folder.path, *own)


async def _lock(folder: Folder) -> int:
    """The machine's run lock, when whatever QEMU is just ending has let go of it."""
    while (lock := take_lock(folder.lock)) is None:
        await released(folder)
    return lock


@contextlib.contextmanager
def _bind(folder: Folder) -> Iterator[_Bound]:
    """The sockets, bound and listening; ours are closed at the end, when QEMU has its own."""
    with contextlib.ExitStack() as stack:
        listeners = {name: stack.enter_context(folder.listen(name)).fileno() for name in _SOCKETS}
        screens = os.open(folder.screen.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, screens)
        yield _Bound(Sockets(**listeners), screens)


async def _greet(argv: tuple[str, ...], process: Process, folder: Folder, said_before: int) -> Monitor:
    """The monitor of a QEMU just started. Its socket listens already; should QEMU end, that hangs up.

    `said_before` is how long its log was before.
    """
    try:
        return await qmp.connect(folder.connect("qmp"), _GREETING_TIMEOUT_S)
    except (OSError, Gone, TimedOut) as error:
        # It ends by itself, or it hangs and is ended: nothing half-started stays.
        if isinstance(error, TimedOut):
            process.kill()
        await process.ended.wait()
        said = read_from(folder.qemu_log, said_before, _LAST_WORDS_BYTES).decode(errors="replace")
        raise ChildFailed(argv, process.status or 0, said, subject=f"machine {folder.machine}") from error


def _without_forwards(spec: MachineSpec) -> MachineSpec:
    nics = tuple(msgspec.structs.replace(nic, forwards=()) for nic in spec.nics)
    return msgspec.structs.replace(spec, nics=nics)
