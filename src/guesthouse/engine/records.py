"""Small pieces of work on records that several parts of the engine share."""

from __future__ import annotations

from typing import Any

from guesthouse.decide.observed import Desired
from guesthouse.decide.quota import used
from guesthouse.engine.forks import source_of
from guesthouse.engine.kinds import KINDS
from guesthouse.engine.readings import readings
from guesthouse.engine.wanted import load_wanted
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.network import Network
from guesthouse.model.resources import (
    Disk,
    DiskState,
    Event,
    Image,
    Operation,
    OperationState,
    Project,
    Quota,
    Snapshot,
    Template,
)
from guesthouse.ports import Transaction

Subject = Machine | MachineRow | Disk | Image | Template | Network


async def load_desired(tx: Transaction, machine: Machine) -> Desired:
    """The machine with all the records that its description names, as of this transaction."""
    attached = {disk.id: disk for disk in await tx.disks.select(machine=machine.id)}
    snapshots = await tx.snapshots.select(machine=machine.id)
    aside = await _aside(tx, machine, snapshots)
    disks = tuple(attached[spec.disk] for spec in machine.spec.disks if spec.disk in attached)
    image = await tx.images.get(machine.image) if machine.image else None
    below = {disk.image for disk in (*attached.values(), *aside) if disk.image}
    images = tuple([found for id in sorted(below) if (found := await tx.images.get(id)) is not None])
    leaving = tuple(disk for disk in attached.values() if disk.state is DiskState.DELETING)
    keys = tuple(key.public for key in await tx.keys.select(project=machine.project, on_request=False))
    project = await tx.projects.get(machine.project)
    template = await tx.templates.get(machine.template) if machine.template else None
    source = await source_of(tx, machine)
    on = dict.fromkeys(port.network for port in await tx.ports.select(machine=machine.id))
    networks = [await load_wanted(tx, network) for id in on if (network := await tx.networks.get(id)) is not None]
    return Desired(
        machine=machine,
        disks=disks,
        leaving=leaving,
        image=image,
        images=images,
        authorized_keys=keys,
        project_number=project.number if project else 0,
        template=template,
        snapshots=tuple(snapshots),
        aside=aside,
        source=source,
        read=bool(await readings(tx, machine.id)),
        networks=tuple(networks),
    )


async def _aside(tx: Transaction, machine: Machine, snapshots: list[Snapshot]) -> tuple[Disk, ...]:
    """Disks of its snapshots that no machine has now."""
    named = {disk.disk for disk in machine.spec.disks}
    ids = dict.fromkeys(id for snapshot in snapshots for id in snapshot.disks if id not in named)
    found = [disk for id in ids if (disk := await tx.disks.get(id)) is not None]
    return tuple(disk for disk in found if not disk.machine)


async def used_by(tx: Transaction, project: Project) -> Quota:
    """What a project uses of its limits."""
    return used(
        await tx.machines.scan(project=project.id),
        await tx.disks.select(project=project.id),
        networks=len(await tx.networks.scan(project=project.id)),
        # A place that is kept for a NIC takes an address as a NIC does.
        elastics=len(await tx.elastics.scan(project=project.id))
        + len(await tx.ports.scan(project=project.id, machine="")),
    )


def an_operation(id: str, kind: str, about: Subject, *, machine: str = "", **more: Any) -> Operation:
    """A new operation about a record, for the host that has it. A machine's owner does those about that `machine`.

    Raises `ValueError` for a record that says no host: nobody would ever take the operation up.
    """
    if not about.host:
        raise ValueError(f"{kind} of {about.name}, which is on no host")
    return Operation(
        id=id,
        project=about.project,
        kind=kind,
        subject_kind="machine" if machine else KINDS[kind].subject,
        subject=machine or about.id,
        subject_name=about.name,
        host=about.host,
        **more,
    )


async def end_operation(
    tx: Transaction, operation: Operation, state: OperationState, error: GuesthouseError | None, **result: Any
) -> bool:
    """End an operation, if it is still ours (`epoch`); keeps an error that it has already."""
    said = operation.error or (error.as_dict() if error else None)
    ended = await tx.operations.update(
        operation.id,
        {"epoch": operation.epoch},
        state=state,
        error=said,
        result=result,
        ended_at=await tx.now(),
    )
    if ended:
        await tell(tx, f"{operation.kind}.{state.value}", operation, **({"error": said} if said else {}))
    return ended


async def tell(tx: Transaction, kind: str, about: Machine | Operation, **data: Any) -> None:
    """Append an event about a machine or about an operation's subject."""
    if isinstance(about, Operation):
        subject_kind, subject, name = about.subject_kind, about.subject, about.subject_name
        data = {"operation": about.id, **data}
    else:
        subject_kind, subject, name = "machine", about.id, about.name
    await tx.events.append(
        Event(
            project=about.project,
            kind=kind,
            subject_kind=subject_kind,
            subject=subject,
            subject_name=name,
            data=data,
        )
    )
