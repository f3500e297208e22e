"""Going on from a snapshot: what is checked before anything is ended, and what a start takes from it.

Rules
-----
1. The first start of a restore epoch goes on from the snapshot; that it did is written down (`Folder.restored`, and
   before it the record) before its vCPUs can run. Every later start is a boot.
2. A snapshot without memory gives back the UEFI variables, and the machine boots with them.
3. A fork of another machine goes on from that one's snapshot, once: should it end before it has a name of its own, it
   is nobody and does not start again.
4. What a state needs is looked at before the running process gives way: its facts, who wrote it, and all files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from guesthouse.decide.forks import handed_on, lineage
from guesthouse.decide.observed import Desired
from guesthouse.host.disks import DiskFiles
from guesthouse.host.durable import put_in_place
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.pool import Frozen, Pool
from guesthouse.host.machines.folder import Folder, Record
from guesthouse.host.machines.keeping import find_again
from guesthouse.host.machines.runs import Runs
from guesthouse.host.snapshots.folder import Saved, SnapshotFolder
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.model.errors import Conflict, Failed, GuesthouseError
from guesthouse.model.resources import Snapshot
from guesthouse.qemu import frozen, networks


@dataclass(frozen=True)
class Reverter:
    """What it takes to go back to snapshots."""

    disks: DiskFiles
    shelf: SnapshotShelf
    box: ThisBox
    pool: Pool
    runs: Runs

    async def check(self, snapshot: Snapshot, desired: Desired) -> Saved:
        """What is to be restored; raises `Conflict` or `Failed` when it cannot be, here and now."""
        folder = self.shelf.folder(snapshot.id)
        saved = folder.read_saved(snapshot.name, await self.box.fingerprint())
        if folder.read_facts().held:
            await self._hold(snapshot)
        if desired.source is not None:
            saved = _handed_on(saved, desired)
        disks = {disk.id: disk for disk in desired.disks}
        for has in saved.spec.disks:
            disk = disks.get(has.disk)
            held = snapshot.disks.get(disk.origin if disk and desired.source else has.disk)
            if disk is None or held is None or held.layer not in self.disks.layers.find(disk):
                raise Failed(
                    f"snapshot {snapshot.name} needs disk {has.name}, which is gone",
                    subject=f"snapshot {snapshot.name}",
                )
        return saved

    async def next_start(self, desired: Desired, folder: Folder, last: Record | None) -> Saved | None:
        """What the next start is to restore, None where it boots; the UEFI variables are those of the snapshot then.

        `last` is the record of the last start. Raises as `check` does.
        """
        machine = desired.machine
        if machine.restore_epoch != machine.restart_epoch:
            return None
        if _is_done(folder, last, machine.restore_epoch):
            if desired.source is not None:
                raise Failed(
                    f"machine {machine.name} ended before it was any other than what it was forked from",
                    subject=f"machine {machine.name}",
                    hint="fork it again",
                )
            return None
        if desired.restore is not None:
            saved = await self.check(desired.restore, desired)
            put_back_variables(self.shelf.folder(desired.restore.id), folder)
            return saved
        self._boot_as_it_was(desired, folder, machine.snapshot)
        return None

    def settle(self, desired: Desired, folder: Folder, stands_on: str) -> None:
        """Have a stopped machine's UEFI variables be those of the snapshot that it went back to, if it did."""
        machine = desired.machine
        if machine.restore_epoch != machine.restart_epoch or not folder.path.is_dir():
            return
        if desired.restore is None and not _is_done(folder, folder.read_record(), machine.restore_epoch):
            self._boot_as_it_was(desired, folder, stands_on)

    def _boot_as_it_was(self, desired: Desired, folder: Folder, stands_on: str) -> None:
        if (epoch := desired.machine.restore_epoch) and stands_on:
            put_back_variables(self.shelf.folder(stands_on), folder)
            folder.remember_restored(epoch)

    async def _hold(self, snapshot: Snapshot) -> None:
        """Have the pool hold a memory that lies in no file; raises `Failed` when nobody has it any more."""
        if self.pool.holds(snapshot.id):
            return
        run = await self.runs.find(snapshot.machine)
        if run is None or (memory := find_again(run, snapshot.id)) is None:
            raise Failed(
                "the memory that was kept for forks is gone: both the daemon and the machine have ended since",
                subject=f"snapshot {snapshot.name}",
                hint="fork it again",
            )
        self.pool.hold(snapshot.id, memory)

    async def open(self, snapshot: str) -> Frozen:
        """What a QEMU needs to go on from a snapshot, to be closed after it; see `restoring.restore`."""
        folder = self.shelf.folder(snapshot)
        if not folder.read_facts().settled:
            with contextlib.suppress(FileNotFoundError):  # it has settled just now: its own machine does that
                return Frozen(os.open(folder.state, os.O_RDONLY | os.O_CLOEXEC))
        return await self.pool.open(snapshot, folder.memory, folder.devices)


@contextlib.contextmanager
def told_as_waking(desired: Desired) -> Iterator[None]:
    """Tell what goes wrong as who started a hibernated machine understands it, with what he can do."""
    try:
        yield
    except (GuesthouseError, OSError) as error:
        if not desired.wakes:
            raise
        name = desired.machine.name
        raise Failed(
            f"machine {name} cannot go on from its memory: {error}",
            subject=f"machine {name}",
            hint=f"`guest start {name} --cold` boots it without, as after a power cut",
        ) from error


def _handed_on(saved: Saved, desired: Desired) -> Saved:
    """What was saved of another machine, as its fork has it."""
    came = lineage(desired)
    had = {disk.disk for disk in saved.spec.disks} | {nic.mac for nic in saved.spec.nics}
    if not had <= {*came.disks, *came.macs}:
        raise Conflict(
            f"machine {desired.machine.name} cannot be forked from one that was losing a disk or a NIC just then",
            subject=f"machine {desired.machine.name}",
            hint="restart that machine, and fork it again",
        )
    return msgspec.structs.replace(
        saved,
        placed=frozen.handed_on(saved.placed, came.disks, came.macs),
        spec=handed_on(saved.spec, came, desired.machine.name),
        networks=networks.made_anew({came.macs[mac]: number for mac, number in saved.networks.items()}),
    )


def _is_done(folder: Folder, last: Record | None, epoch: int) -> bool:
    if last is not None and last.restored and not last.unfinished and last.restart_epoch == epoch:
        return True
    return folder.has_restored(epoch)


def put_back_variables(snapshot: SnapshotFolder, folder: Folder) -> None:
    """Give a machine's folder the UEFI variables of a snapshot, if it has any."""
    if snapshot.variables.exists():
        partial = folder.variables.with_name(folder.variables.name + ".partial")
        shutil.copyfile(snapshot.variables, partial)
        partial.chmod(0o600)
        put_in_place(partial, folder.variables)
