"""The desk at which an intent is accepted: one transaction, who asks, and what acceptance needs to know.

Rules
-----
1. Everything found here belongs to the asker's project, or is an image that this may use; all else does not exist.
2. An operation is opened in the same transaction that writes the desired state it wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from guesthouse.decide import lifecycle
from guesthouse.decide.lifecycle import Verb
from guesthouse.engine.forks import forks_in
from guesthouse.engine.hibernation import refuse_hibernated
from guesthouse.engine.intents import Asker
from guesthouse.engine.kinds import BY_ITSELF, KINDS
from guesthouse.engine.network_undo import Former
from guesthouse.engine.readings import Reading, refuse_read_machine
from guesthouse.engine.records import an_operation
from guesthouse.engine.resolve import find, find_image
from guesthouse.model.errors import Conflict, NotFound
from guesthouse.model.machine import Machine, MachineRow
from guesthouse.model.names import make_id
from guesthouse.model.network import Network
from guesthouse.model.resources import (
    Disk,
    DiskState,
    Event,
    Image,
    ImageState,
    Operation,
    OperationRow,
    OperationState,
    Project,
    Template,
)
from guesthouse.ports import HostFacts, NetworkFacts, Transaction


@dataclass(frozen=True)
class Desk:
    """What the accepting functions work with. `here` is this daemon's host, `host` the one that takes what is made.

    `pushed_aside` has the ids of operations that another one superseded: who waits for them is told after the commit.
    `beside` has the ids of further subjects that have work by what was accepted, `before` how places were that change.
    `readings` has what is to be read of machines that run, by their ids: all that is read of one is of one moment.
    """

    tx: Transaction
    asker: Asker
    facts: HostFacts
    networks: NetworkFacts
    random: Random
    here: str
    host: str
    pushed_aside: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    before: list[Former] = field(default_factory=list)
    readings: dict[str, Reading] = field(default_factory=dict)

    def at(self, host: str) -> Desk:
        """The same desk, for what is made on that host."""
        return replace(self, host=host)

    def new_id(self) -> str:
        return make_id(self.random)

    async def project(self) -> Project:
        """The asker's own project."""
        project = await self.tx.projects.get(self.asker.project)
        if project is None:
            raise NotFound("the project is gone", subject="project", value=self.asker.project)
        return project

    async def machine(self, ref: str) -> Machine:
        """The machine of that name or id."""
        return await find(self.tx.machines, self.asker.project, "machine", ref)

    async def disk(self, ref: str) -> Disk:
        return await find(self.tx.disks, self.asker.project, "disk", ref)

    async def image(self, ref: str) -> Image:
        """The image of that name, id or family; the project's own come before public ones."""
        return await find_image(self.tx, self.asker.project, ref)

    async def ready_disk(self, ref: str) -> Disk:
        """`disk`; raises `Conflict` while something is being done with it."""
        disk = await self.disk(ref)
        if disk.state is not DiskState.READY:
            raise _not_ready("disk", disk, "what is being done with it")
        return disk

    async def ready_image(self, ref: str) -> Image:
        """`image`; raises `Conflict` while it is being made or removed."""
        image = await self.image(ref)
        if image.state is not ImageState.READY:
            raise _not_ready("image", image, "how far it is")
        return image

    async def system_image(self, ref: str) -> Image:
        """`ready_image`; raises `Conflict` for one that is data."""
        image = await self.ready_image(ref)
        if image.data:
            raise Conflict(
                f"image {image.name} is data: there is no system in it",
                subject=f"image {image.name}",
                field="image",
                value=image.name,
                hint=f"`guest disk create NAME --from {image.name}` makes a disk of it",
            )
        return image

    async def image_under(self, machine: Machine) -> Image:
        """The image that a machine was launched from: it stays as long, whoever may use it now."""
        image = await self.tx.images.get(machine.image)
        if image is None:
            raise NotFound(f"the image of machine {machine.name} is gone", subject=f"machine {machine.name}")
        return image

    async def disk_image(self, ref: str) -> Image:
        """`ready_image`; raises `Conflict` for one without a disk."""
        image = await self.ready_image(ref)
        if not image.disk:
            raise Conflict(
                f"image {image.name} has no disk",
                subject=f"image {image.name}",
                field="image",
                value=image.name,
                hint="it is a kernel and an initrd; take another one",
            )
        return image

    async def machine_to_change(self, ref: str, *, described: bool = False) -> Machine:
        """`machine`, and the way to changing it is clear, or to changing how it is `described` alone."""
        machine = await self.machine(ref)
        await self.allow_change(machine, described=described)
        return machine

    async def allow_change(self, machine: Machine, *, described: bool = False) -> None:
        """Raise `Conflict` unless the machine may be changed now: it stays, and nothing else is under way.

        One that is hibernated is not changed, but for some of how it is `described`: see `machines.change_to`.
        """
        lifecycle.ask(machine, Verb.CHANGE)
        await self.clear_the_way(machine, Verb.CHANGE)
        if not described:
            refuse_hibernated(machine)

    async def open_operations(self, subject: str) -> list[OperationRow]:
        """Operations on this subject that have not ended, oldest first."""
        return await self.tx.operations.scan(subject=subject, ended_at=0.0)

    async def open(
        self,
        kind: str,
        subject: Machine | MachineRow | Disk | Image | Template | Network,
        *,
        machine: str = "",
        context: Mapping[str, Any] | None = None,
        generation: int = 0,
        done: bool = False,
        later: str = "",
    ) -> Operation:
        """Write down a new operation. One about a disk that a machine has is done by that `machine`'s owner.

        With `done` it has ended as it begins: what was asked for is so already, or comes `later` by itself.
        """
        operation = await self.tx.operations.insert(
            an_operation(
                self.new_id(),
                kind,
                subject,
                machine=machine,
                state=OperationState.DONE if done else OperationState.WAITING,
                generation=generation,
                context=dict(context or {}),
                result={"later": later} if later else {"already": True} if done else {},
                ended_at=await self.tx.now() if done else 0.0,
            )
        )
        await self.tell(f"{kind}.done" if done else f"{kind}.accepted", operation)
        return operation

    async def tell(self, kind: str, operation: OperationRow) -> None:
        """Append an event about an operation's subject."""
        await self.tx.events.append(
            Event(
                project=operation.project,
                kind=kind,
                subject_kind=operation.subject_kind,
                subject=operation.subject,
                subject_name=operation.subject_name,
                data={"operation": operation.id},
            )
        )

    async def clear_the_way(self, machine: Machine, verb: Verb, *, force: bool = False) -> None:
        """Refuse while another operation on the machine is open, or push it aside where `verb` may.

        One that is pushed aside gets a new epoch, so that its owner can write nothing about it any more.
        """
        await refuse_read_machine(self.tx, machine, gone=verb is Verb.DELETE)
        for operation in await self.open_operations(machine.id):
            if operation.kind not in BY_ITSELF.values() and not lifecycle.supersedes(verb, force=force):
                raise under_way(machine, operation)
            reason = Conflict(f"superseded by {verb.value}", subject=f"machine {machine.name}")
            await self.tx.operations.update(
                operation.id,
                {},
                epoch=operation.epoch + 1,
                state=OperationState.CANCELLED,
                error=reason.as_dict(),
                ended_at=await self.tx.now(),
            )
            await self.tell(f"{operation.kind}.cancelled", operation)
            self.pushed_aside.append(operation.id)
            if operation.kind == "machine.fork" and (whole := await self.tx.operations.get(operation.id)) is not None:
                self.beside.extend(forks_in(whole))


def under_way(machine: Machine, operation: OperationRow) -> Conflict:
    """Why a machine cannot be changed while something else is done with it."""
    return Conflict(
        f"machine {machine.name}: {KINDS[operation.kind].phase} is under way",
        subject=f"machine {machine.name}",
        field="operation",
        value=operation.id,
        hint=f"wait for it, or `guest operation cancel {operation.id}`",
    )


def _not_ready(kind: str, found: Disk | Image, shown: str) -> Conflict:
    subject = f"{kind} {found.name}"
    hint = f"`guest operation list` shows {shown}"
    return Conflict(f"{subject} is not ready: {found.state.value}", subject=subject, hint=hint)
