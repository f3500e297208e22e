"""Starting a machine's QEMU, so that a daemon killed at any point leaves either none or one that is found again.

Rules
-----
1. The order is lock, record, sockets, process, greeting, forwards. `POINTS` names what lies between, `FORK_POINTS` and
   `RESTORE_POINTS` those of a fork and of a restore; a test ends the daemon at each of them.
2. The first start of a machine with a template is a fork of that, where it fits; every other one is a boot. That it
   was forked is written down (`Folder.forked`) before its vCPUs run for the first time: they never do so twice.
3. The first start after a revert to memory, or of a hibernated machine, goes on from that (`reverting`); should that
   fail, so does the start.
4. A fork of another machine has no network until it has a name of its own (`naming`).
5. What a killed daemon left half restored has never run: whoever finds it ends it (`Record.unfinished`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.capabilities import Emulator
from guesthouse.host.disks import DiskFiles
from guesthouse.host.durable import write_whole
from guesthouse.host.frozen.pool import Frozen, Pool
from guesthouse.host.kvm import Kvm
from guesthouse.host.machines import firmware, interrupted
from guesthouse.host.machines.folder import Folder, Record
from guesthouse.host.machines.forwarding import chosen, set_first_forwards
from guesthouse.host.machines.ignition import Bound, Ignition, Lit, locked
from guesthouse.host.machines.process import prepare_files
from guesthouse.host.machines.restoring import fork, restore
from guesthouse.host.machines.reverting import Reverter, told_as_waking
from guesthouse.host.machines.run import Run
from guesthouse.host.machines.runs import Runs
from guesthouse.host.machines.wiring import Wiring
from guesthouse.host.probe import console_size
from guesthouse.host.snapshots.folder import Saved
from guesthouse.host.stages import Kept
from guesthouse.host.stages import keep as keep_stage
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.house import House
from guesthouse.model.machine import MachineSpec, Stage
from guesthouse.qemu import hotplug, networks
from guesthouse.qemu.block import DiskFile
from guesthouse.qemu.boot import Boot
from guesthouse.qemu.capabilities import Capabilities
from guesthouse.qemu.place import place

_LOG = logging.getLogger(__name__)
POINTS = ("locked", "recorded", "bound", "spawned", "greeted")
FORK_POINTS = (*POINTS, "restored", "plugged", "forked")
RESTORE_POINTS = (*POINTS, "restored", "finished", "remembered")


@dataclass(frozen=True)
class Starter:
    """What it takes to start machines. `reached` is called at every one of `POINTS`."""

    house: House
    runs: Runs
    disks: DiskFiles
    emulator: Emulator
    kvm: Kvm
    pool: Pool
    reverter: Reverter
    wiring: Wiring
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
        async with self.runs.to_be(machine.id):
            run = await self._start(desired, folder)
        for nic in machine.spec.nics:
            if nic.mac in run.record.forwards:
                await set_first_forwards(run, nic)

    async def _start(self, desired: Desired, folder: Folder) -> Run:
        """Boot, fork or restore; the QEMU is held then, as what its record says."""
        capabilities, accelerator = await self.emulator.capabilities(), await self.kvm.accelerator()
        async with locked(folder) as lock, self.wiring.taps(desired, desired.machine.spec.nics) as taps:
            self.reached("locked")
            last = folder.read_record()
            with told_as_waking(desired):
                saved = await self.reverter.next_start(desired, folder, last)
            record = self._record(desired, folder, last, accelerator, capabilities, saved)
            files = {disk.id: self.disks.file(disk, desired.images) for disk in desired.disks}
            boot = self._boot(desired, folder, files, taps, accelerator, capabilities)
            self._hand_over(desired, folder)
            frozen = None if saved else await self._frozen(desired, folder, record)
            unfinished = frozen is not None or saved is not None
            folder.write_record(msgspec.structs.replace(record, unfinished=unfinished))
            self.reached("recorded")
            who = identity.identity_of(folder.path, desired.project_number, kvm=accelerator == "kvm")
            ignition = Ignition(folder, lock, who, self.reached)
            if saved is not None:
                with told_as_waking(desired):
                    lit = await self._restore(ignition, record, boot, saved, desired)
            elif frozen is not None:
                lit, record = await self._fork(ignition, record, boot, frozen, desired)
            else:
                lit = await ignition.light(record.placed, boot)
        run = self.runs.hold(folder, lit.process, lit.monitor, record)
        if record.restored:
            await run.look_around()
        return run

    async def _frozen(self, desired: Desired, folder: Folder, record: Record) -> Frozen | None:
        """The template to fork from at this start, None where it is to be a boot."""
        if desired.template is None or folder.forked.exists():
            return None
        try:
            return await self.pool.take(desired.template, record.placed)
        except (GuesthouseError, OSError) as error:
            _LOG.warning("machine %s boots: its template cannot be used: %s", desired.machine.name, error)
            return None

    async def _fork(
        self, ignition: Ignition, record: Record, boot: Callable[[Bound], Boot], frozen: Frozen, desired: Desired
    ) -> tuple[Lit, Record]:
        """Fork, and what is so then; a template that cannot be restored costs time and nothing else."""
        folder = ignition.folder
        try:
            lit = await fork(ignition, record.placed, boot, frozen)
            for disk in desired.disks:
                if disk.template:  # the guest still knows the size that the frozen disk had
                    node = record.placed.disk(disk.id).node
                    await lit.monitor.execute(hotplug.grow_disk(node, disk.size_mib << 20))
        except (GuesthouseError, OSError) as error:
            _LOG.warning("machine %s boots: it could not be forked: %s", desired.machine.name, error)
            folder.write_record(record)
            return await ignition.light(record.placed, boot), record
        finally:
            frozen.close()
        record = msgspec.structs.replace(record, forked=True)
        write_whole(folder.forked, b"")
        self.reached("forked")
        folder.write_record(record)
        return lit, record

    async def _restore(
        self, ignition: Ignition, record: Record, boot: Callable[[Bound], Boot], saved: Saved, desired: Desired
    ) -> Lit:
        """Go on from a snapshot's memory, and write down that it was done; nobody else does it again."""
        machine, folder = desired.machine, ignition.folder
        frozen = await self.reverter.open(machine.restore)
        try:
            lit = await restore(ignition, saved, boot, frozen)
        finally:
            frozen.close()
        try:
            for nic in record.placed.nics if record.nameless else ():
                await lit.monitor.execute(hotplug.set_link(nic, up=False))
            stage = Kept(started_at=0, stage=Stage.RUNNING) if record.nameless else saved.stage
            keep_stage(folder, msgspec.structs.replace(stage, started_at=record.started_at))
            folder.write_record(record)
            self.reached("finished")
            folder.remember_restored(machine.restore_epoch)
            self.reached("remembered")
        except BaseException:
            await lit.end()
            raise
        return lit

    def _boot(
        self,
        desired: Desired,
        folder: Folder,
        files: Mapping[str, DiskFile],
        taps: Mapping[str, int],
        accelerator: str,
        capabilities: Capabilities,
    ) -> Callable[[Bound], Boot]:
        machine, start_with = desired.machine, firmware.choose(desired, self.house, folder)
        return lambda bound: Boot(
            id=machine.id,
            name=machine.spec.name,
            accelerator=accelerator,
            capabilities=capabilities,
            firmware=start_with,
            sockets=bound.sockets,
            disks=files,
            seed=folder.seed,
            datasource=machine.spec.datasource,
            console_log=folder.console_log,
            pidfile=folder.pidfile,
            screen=Path(f"/proc/self/fd/{bound.screens}/{folder.screen.name}"),
            taps=taps,
            binary=self.emulator.binary,
        )

    def _record(
        self,
        desired: Desired,
        folder: Folder,
        old: Record | None,
        accelerator: str,
        capabilities: Capabilities,
        saved: Saved | None,
    ) -> Record:
        spec = desired.machine.spec
        before = (old.forwards_before | old.forwards) if old else {}
        if saved is not None:
            placed = saved.placed
        else:
            placed = place(spec, old.placed if old else None, machine_type=capabilities.machine_type())
        has = {nic.mac for nic in placed.nics}
        return Record(
            placed=placed,
            spec=_without_forwards(_wired_as(saved.spec, spec) if saved else spec),
            restart_epoch=desired.machine.restart_epoch,
            boot_memory_mib=placed.memory_mib,
            accelerator=accelerator,
            started_at=self.clock(),
            forwards={
                nic.mac: chosen(nic, before.get(nic.mac, ()))
                for nic in spec.nics
                if nic.forwards and nic.mac in has and not nic.network
            },
            forwards_before=before,
            networks=saved.networks if saved else networks.at_start(placed),
            forked=saved is not None and saved.forked,
            restored=saved is not None,
            nameless=desired.source is not None and saved is not None,
            late=saved is not None and desired.source is None,
            console_from=console_size(folder),
        )

    def _hand_over(self, desired: Desired, folder: Folder) -> None:
        """Let the machine have what is its own, and read what it shares."""
        images = {image.id: image for image in (desired.image, *desired.images) if image is not None}
        for image in images.values():
            identity.open_image(self.house.images, image, desired.machine.project, desired.project_number)
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
        for disk in desired.disks:
            identity.let_read(folder.path, *self.disks.frozen(disk))
        interrupted.unmark(folder)


def _without_forwards(spec: MachineSpec) -> MachineSpec:
    nics = tuple(msgspec.structs.replace(nic, forwards=()) for nic in spec.nics)
    return msgspec.structs.replace(spec, nics=nics)


def _wired_as(spec: MachineSpec, wanted: MachineSpec) -> MachineSpec:
    """What goes on, with its NICs in the places of which they have the TAPs now: a fork's are its own."""
    places = {nic.mac: nic for nic in wanted.nics if nic.network}
    return msgspec.structs.replace(
        spec,
        nics=tuple(
            msgspec.structs.replace(nic, network=there.network, subnet=there.subnet, address=there.address)
            if nic.network and (there := places.get(nic.mac))
            else nic
            for nic in spec.nics
        ),
    )
