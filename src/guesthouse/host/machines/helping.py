"""Helpers: QEMUs that are no machine, and only carry a snapshot's memory from one form into another.

Rules
-----
1. A helper is as confined as any QEMU. It has the very tree of the snapshot, blank disks, and vCPUs that never run.
2. It ends with the daemon; what is left of one that was killed is cleared away by the next daemon, and before the next
   try.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from guesthouse.decide.observed import Desired
from guesthouse.host import identity
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.machines import ending, firmware
from guesthouse.host.machines.folder import Folder
from guesthouse.host.machines.ignition import Bound, Ignition, locked
from guesthouse.host.machines.process import Rank, prepare_files
from guesthouse.host.machines.wiring import idle_taps
from guesthouse.host.snapshots.folder import Saved
from guesthouse.model.house import House
from guesthouse.model.resources import Snapshot
from guesthouse.qemu.boot import Boot

_PREFIX = "settling-"


class Helper(NamedTuple):
    """What a helper's QEMU is lit with."""

    ignition: Ignition
    boot: Callable[[Bound], Boot]


@dataclass(frozen=True)
class Helpers:
    """What it takes to have helpers."""

    house: House
    box: ThisBox

    @asynccontextmanager
    async def helper(
        self,
        snapshot: Snapshot,
        saved: Saved,
        desired: Desired,
        variables: Path,
        rank: Rank,
        memory: Path | None = None,
    ) -> AsyncIterator[Helper]:
        """A folder for a helper, and all that it is started with; `memory` is made, as the file that it is to fill.

        `variables` are the UEFI firmware's, if there is such a file.
        """
        await ending.clear(Folder(self.house.machines / f"{_PREFIX}{snapshot.id}"))
        work = Folder(identity.make_machine_folder(self.house.machines, f"{_PREFIX}{snapshot.id}"))
        try:
            _prepare(work, saved, variables, memory)
            who = identity.identity_of(work.path, desired.project_number, kvm=saved.by.accelerator == "kvm")
            with idle_taps(saved.placed) as taps:
                boot = await self._boot(work, saved, desired, taps)
                async with locked(work) as lock:
                    yield Helper(Ignition(work, lock, who, rank=rank), boot)
        finally:
            await ending.clear(work)

    async def sweep(self) -> None:
        """Clear away what a killed daemon had begun."""
        for path in self.house.machines.glob(f"{_PREFIX}*"):
            await ending.clear(Folder(path))

    async def _boot(
        self, work: Folder, saved: Saved, desired: Desired, taps: Mapping[str, int]
    ) -> Callable[[Bound], Boot]:
        machine = msgspec.structs.replace(desired.machine, spec=saved.spec)
        start_with = firmware.choose(replace(desired, machine=machine), self.house, work)
        capabilities = await self.box.emulator.capabilities()
        return lambda bound: Boot(
            id=machine.id,
            name=saved.spec.name,
            accelerator=saved.by.accelerator,
            capabilities=capabilities,
            firmware=start_with,
            sockets=bound.sockets,
            disks={},
            seed=work.seed,
            console_log=work.console_log,
            pidfile=work.pidfile,
            screen=Path(f"/proc/self/fd/{bound.screens}/{work.screen.name}"),
            blank=True,
            taps=taps,
            binary=self.box.emulator.binary,
        )


def _prepare(work: Folder, saved: Saved, variables: Path, memory: Path | None) -> None:
    """The files that a helper is to have: those of any QEMU, its memory, the firmware's variables."""
    identity.check_way(work.path)
    prepare_files(work)
    own = [work.pidfile, work.console_log, work.screen.parent]
    if memory is not None:
        with memory.open("xb") as file:
            file.truncate(saved.placed.memory_mib << 20)
        own.append(memory)
    if variables.exists():
        shutil.copyfile(variables, work.variables)
        own.append(work.variables)
    identity.give_to_machine(work.path, *own)
