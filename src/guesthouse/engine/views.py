"""What is, as an asker may see it: only the own project's, and public images.

Lists read scalar columns only. Waiting is for an event, with a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from guesthouse.decide.lifecycle import shown_state
from guesthouse.engine.intents import Asker
from guesthouse.engine.progress import EVERYTHING, Board, Listener, end_of
from guesthouse.engine.records import used_by
from guesthouse.engine.resolve import find, find_image, find_operation, images_of
from guesthouse.engine.snapshot_views import SnapshotsView, SnapshotView, snapshot_of, snapshots_of
from guesthouse.model.dialect import AccessKey
from guesthouse.model.errors import NotFound, from_dict
from guesthouse.model.machine import Machine, MachineRow, Power, Stage, State
from guesthouse.model.resources import (
    ENDED,
    Disk,
    Event,
    Image,
    Key,
    Operation,
    OperationRow,
    Project,
    Quota,
    Role,
    Template,
    TemplateRow,
    Token,
)
from guesthouse.ports import DiskHost, Store, Transaction


class MachineView(msgspec.Struct, frozen=True):
    """A machine with what belongs to it: the names of the snapshot it stands on, and of the machine it was forked from.

    The one that it was forked from may be gone; it has no name then.
    """

    machine: Machine
    disks: tuple[Disk, ...]
    image_name: str
    snapshot_name: str
    origin_name: str
    operation: OperationRow | None


class DiskView(msgspec.Struct, frozen=True):
    """A disk, who has it, and its file as it is."""

    disk: Disk
    machine_name: str
    chain: dict[str, Any]


class ImageView(msgspec.Struct, frozen=True):
    """An image, and for its own project the names of the others that may use it."""

    image: Image
    shared_with: tuple[str, ...]


class TemplateView(msgspec.Struct, frozen=True):
    """A template, its image, and the names of the machines that were forked from it."""

    template: Template
    image_name: str
    forks: tuple[str, ...]


class ProjectView(msgspec.Struct, frozen=True):
    """A project and what of its limits is used."""

    project: Project
    used: Quota


@dataclass(frozen=True)
class Views:
    """All that can be looked at."""

    store: Store
    board: Board
    disk_host: DiskHost

    async def machines(
        self, asker: Asker, *, state: State | None = None, label: tuple[str, str] | None = None
    ) -> list[MachineRow]:
        """The project's machines, oldest first. A filter by label reads documents; the plain list does not."""
        async with self.store.read() as tx:
            if label is None:
                rows: list[MachineRow] = list(await tx.machines.scan(project=asker.project))
            else:
                name, value = label
                whole = await tx.machines.select(project=asker.project)
                rows = [machine for machine in whole if machine.spec.labels.get(name) == value]
        rows = [_shown(row) for row in rows]
        return [row for row in rows if state is None or row.state is state]

    async def machine(self, asker: Asker, ref: str) -> MachineView:
        """One machine, whole."""
        async with self.store.read() as tx:
            return await self._machine(tx, await find(tx.machines, asker.project, "machine", ref))

    async def _machine(self, tx: Transaction, machine: Machine) -> MachineView:
        disks = tuple(await tx.disks.select(machine=machine.id))
        image = await tx.images.get(machine.image) if machine.image else None
        snapshot = await tx.snapshots.get(machine.snapshot) if machine.snapshot else None
        origin = await tx.machines.get(machine.origin) if machine.origin else None
        under_way = await tx.operations.scan(subject=machine.id, ended_at=0.0)
        return MachineView(
            _shown(machine),
            disks,
            image_name=image.name if image else "",
            snapshot_name=snapshot.name if snapshot else "",
            origin_name=origin.name if origin else "",
            operation=under_way[-1] if under_way else None,
        )

    async def wait_machine(self, asker: Asker, ref: str, *, until: Stage, wait_s: float) -> MachineView:
        """The machine when it has reached `until`, can reach it no more, or time is over."""
        machine_id = (await self.machine(asker, ref)).machine.id
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        with self.board.changes.listen(machine_id) as changes:
            view = await self.machine(asker, machine_id)
            while not _reached(view, until) and await changes.wait(deadline - clock()):
                view = await self.machine(asker, machine_id)
        return view

    async def snapshots(self, asker: Asker, machine: str) -> SnapshotsView:
        """The snapshots of a machine, and which one it stands on."""
        async with self.store.read() as tx:
            return await snapshots_of(tx, await find(tx.machines, asker.project, "machine", machine))

    async def snapshot(self, asker: Asker, machine: str, ref: str) -> SnapshotView:
        """One snapshot of a machine, whole."""
        async with self.store.read() as tx:
            return await snapshot_of(tx, await find(tx.machines, asker.project, "machine", machine), ref)

    async def disks(self, asker: Asker) -> list[Disk]:
        async with self.store.read() as tx:
            return await tx.disks.select(project=asker.project)

    async def disk(self, asker: Asker, ref: str) -> DiskView:
        """One disk, with its file looked at."""
        async with self.store.read() as tx:
            disk = await find(tx.disks, asker.project, "disk", ref)
            machine = await tx.machines.get(disk.machine) if disk.machine else None
            image = await tx.images.get(disk.image) if disk.image else None
        chain: Mapping[str, Any] = await self.disk_host.describe(disk, image)
        return DiskView(disk, machine.name if machine else "", dict(chain))

    async def images(self, asker: Asker) -> list[Image]:
        """The project's images, those that are shared with it, and the public ones, oldest first."""
        async with self.store.read() as tx:
            found = await images_of(tx, asker.project)
        return sorted(found, key=lambda image: (image.created_at, image.id))

    async def templates(self, asker: Asker) -> list[TemplateRow]:
        async with self.store.read() as tx:
            return await tx.templates.scan(project=asker.project)

    async def template(self, asker: Asker, ref: str) -> TemplateView:
        """One template, with the name of its image and the machines that were forked from it."""
        async with self.store.read() as tx:
            template = await find(tx.templates, asker.project, "template", ref)
            image = await tx.images.get(template.image)
            forks = [machine.name for machine in await tx.machines.scan(template=template.id)]
        return TemplateView(template, image.name if image else "", tuple(forks))

    async def image(self, asker: Asker, ref: str) -> ImageView:
        """One image, with whom it is shared."""
        async with self.store.read() as tx:
            image = await find_image(tx, asker.project, ref)
            shares = await tx.shares.select(image=image.id) if image.project == asker.project else []
            others = [await tx.projects.get(share.project) for share in shares]
        return ImageView(image, tuple(project.name for project in others if project is not None))

    async def keys(self, asker: Asker) -> list[Key]:
        async with self.store.read() as tx:
            return await tx.keys.select(project=asker.project)

    async def tokens(self, asker: Asker) -> list[Token]:
        """The project's tokens, without their digests."""
        async with self.store.read() as tx:
            tokens = await tx.tokens.select(project=asker.project)
        return [msgspec.structs.replace(token, digest="") for token in tokens]

    async def access_keys(self, asker: Asker) -> list[AccessKey]:
        async with self.store.read() as tx:
            return await tx.access_keys.select(project=asker.project)

    async def access_key(self, asker: Asker, name: str) -> AccessKey:
        """The project's access key of this name or id; nobody is shown one of a higher role than the own."""
        ranks = list(Role)
        for key in await self.access_keys(asker):
            if name in (key.name, key.id) and ranks.index(key.role) <= ranks.index(asker.role):
                return key
        raise NotFound(f"there is no access key {name!r}", subject=f"access key {name}", field="access_key", value=name)

    async def projects(self, asker: Asker) -> list[Project]:
        """All projects for the operator of the house, the own one for anyone else."""
        async with self.store.read() as tx:
            projects = await tx.projects.select()
        return [project for project in projects if asker.house or project.id == asker.project]

    async def project(self, asker: Asker, ref: str) -> ProjectView:
        """A project with what it uses."""
        for project in await self.projects(asker):
            if ref in (project.id, project.name):
                async with self.store.read() as tx:
                    return ProjectView(project, await used_by(tx, project))
        raise NotFound(f"there is no project {ref!r}", subject=f"project {ref}", field="project", value=ref)

    async def operations(self, asker: Asker, *, all: bool) -> list[OperationRow]:
        """Operations that have not ended; with `all` the ended ones too."""
        async with self.store.read() as tx:
            only = {} if all else {"ended_at": 0.0}
            return await tx.operations.scan(project=asker.project, **only)

    async def operation(self, asker: Asker, ref: str) -> Operation:
        """One operation, with its progress; `ref` is an id."""
        async with self.store.read() as tx:
            return self.board.shown(await find_operation(tx.operations, asker.project, ref))

    async def wait_end(self, asker: Asker, operation: Operation, *, wait_s: float) -> Operation:
        """An operation that was just accepted, when it has ended or time is over."""
        with self.board.changes.listen(end_of(operation.id)) as end:
            if operation.state not in ENDED:
                await end.wait(wait_s)
        return await self.operation(asker, operation.id)

    async def ended(self, asker: Asker, accepted: Iterable[object], *, wait_s: float) -> None:
        """Wait for the ends of operations among what was accepted; raises the error of one that came to nothing.

        What takes longer goes on.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        for each in accepted:
            if isinstance(each, Operation):
                operation = await self.wait_end(asker, each, wait_s=max(0.0, deadline - clock()))
                if operation.error:
                    raise from_dict(operation.error)

    async def wait_operation(self, asker: Asker, ref: str, *, after: str, wait_s: float) -> Operation:
        """The operation, as soon as its stamp is not `after`, or time is over. Its end is told at once."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        with self.board.changes.listen(ref) as changes:
            operation = await self.operation(asker, ref)
            while _still(operation, after) and await changes.wait(deadline - clock()):
                await self._pace(ref, changes, deadline)
                operation = await self.operation(asker, ref)
        return operation

    async def _pace(self, operation: str, changes: Listener, deadline: float) -> None:
        """Let a running operation move on a little: telling every step of a short one would slow it down."""
        clock = asyncio.get_running_loop().time
        until = min(deadline, clock() + _PACE_S)
        while operation in self.board.places and await changes.wait(until - clock()):
            pass

    async def events(self, asker: Asker, *, after: int, limit: int) -> list[Event]:
        """Events of the project with a number above `after`."""
        async with self.store.read() as tx:
            return await tx.events.after(after, asker.project, limit)

    async def last_event(self) -> int:
        """The number of the newest event: where to follow from."""
        async with self.store.read() as tx:
            return await tx.events.last()

    async def follow(self, asker: Asker, *, after: int) -> AsyncIterator[Event]:
        """Events of the project as they happen, from `after` on, without an end."""
        with self.board.changes.listen(EVERYTHING) as changes:
            while True:
                batch = await self.events(asker, after=after, limit=200)
                for event in batch:
                    after = event.number
                    yield event
                if not batch:
                    await changes.wait(_POLL_S)


_POLL_S = 30.0
_PACE_S = 0.1
_ORDER = list(Stage)


def _shown(row: Any) -> Any:
    return msgspec.structs.replace(row, state=shown_state(row))


def _reached(view: MachineView, until: Stage) -> bool:
    """Whether the wait is over: the stage is reached, or nothing under way can lead there."""
    machine = view.machine
    if machine.stage and _ORDER.index(machine.stage) >= _ORDER.index(until):
        return True
    return view.operation is None and machine.power is not Power.RUNNING


def _still(operation: Operation, after: str) -> bool:
    return operation.state not in ENDED and operation.stamp == after
