"""From what a person wrote to the record meant: a name, an id, or an image's family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from guesthouse.model.errors import NotFound
from guesthouse.model.machine import Machine
from guesthouse.model.names import is_id
from guesthouse.model.network import Elastic, Network, Port
from guesthouse.model.resources import Image, ImageState, Operation, Snapshot
from guesthouse.ports import Table, Transaction


class Owned(Protocol):
    """A record that belongs to a project."""

    @property
    def project(self) -> str: ...


Thing = TypeVar("Thing", bound=Owned)


async def find_operation(table: Table[Operation, Any], project: str, ref: str) -> Operation:
    """The operation of `project` with that id: operations have no names."""
    if is_id(ref):
        return await find(table, project, "operation", ref)
    raise _not_found("operation", ref)


async def find(
    table: Table[Thing, Any], project: str, what: str, ref: str, *, field: str = "", **among: object
) -> Thing:
    """The record of `project` with that name or id; raises `NotFound`, as for one of another project.

    `among` are equalities that hold for it too; `field` is where it was named, if not in one called `what`.
    """
    wanted = {"id": ref} if is_id(ref) else {"name": ref}
    records = await table.select(project=project, **wanted, **among)
    if records:
        return records[0]
    raise _not_found(what, ref, field)


async def find_snapshot(tx: Transaction, machine: Machine, ref: str) -> Snapshot:
    """The machine's snapshot with that name or id; raises `NotFound`."""
    wanted = {"id": ref} if is_id(ref) else {"name": ref}
    if found := await tx.snapshots.select(machine=machine.id, passing=False, **wanted):
        return found[0]
    raise NotFound(
        f"machine {machine.name} has no snapshot {ref!r}",
        subject=f"snapshot {ref}",
        field="snapshot",
        value=ref,
        hint=f"`guest snapshot list {machine.name}` shows them",
    )


_WHERE_TO_LOOK = {
    "machine": "`guest list` shows the machines of this project",
    "disk": "`guest disk list` shows the disks of this project",
    "image": "`guest image list` shows the images; `guest image build micro` makes the small one",
    "template": "`guest template list` shows the templates of this project",
    "key": "`guest key list` shows the keys of this project",
    "token": "`guest token list` shows the tokens of this project",
    "project": "`guest project list` shows the projects",
    "network": "`guest network list` shows the networks that this project can use",
    "subnet": "`guest subnet list` shows the subnets of a network",
    "group": "`guest group list` shows the groups of a network",
    "address": "`guest address list` shows the addresses of this project",
    "operation": "`guest operation list --all` shows the operations",
}


async def find_network(table: Table[Network, Network], project: str, ref: str) -> Network:
    """The network by name or id; own ones before shared ones."""
    wanted = {"id": ref} if is_id(ref) else {"name": ref}
    for scope in ({"project": project}, {"shared": True}):
        if found := await table.select(**wanted, **scope):
            return found[0]
    raise _not_found("network", ref)


async def find_elastic(table: Table[Elastic, Elastic], project: str, ref: str) -> Elastic:
    """The project's elastic address that is written so, or has that id."""
    wanted = {"id": ref} if is_id(ref) else {"address": ref}
    if found := await table.select(project=project, **wanted):
        return found[0]
    raise _not_found("address", ref)


async def images_of(tx: Transaction, project: str) -> list[Image]:
    """The images that a project may use, each once: its own, those that are shared with it, public ones."""
    shared = [await tx.images.get(share.image) for share in await tx.shares.select(project=project)]
    found = [*await tx.images.select(project=project), *filter(None, shared), *await tx.images.select(public=True)]
    return list({image.id: image for image in found}.values())


async def find_image(tx: Transaction, project: str, ref: str) -> Image:
    """The image by name or id, or the newest ready one of a family; own ones before shared ones, then public ones."""
    if is_id(ref):
        image = await tx.images.get(ref)
        if image is not None and (image.project == project or image.public):
            return image
        if image is not None and await tx.shares.select(image=ref, project=project):
            return image
    elif (image := _called(await images_of(tx, project), project, ref)) is not None:
        return image
    raise _not_found("image", ref)


def _called(images: Iterable[Image], project: str, ref: str) -> Image | None:
    def is_own(image: Image) -> bool:
        return image.project == project

    def is_shared(image: Image) -> bool:
        return image.project != project and not image.public

    for scope in (is_own, is_shared, lambda image: image.public):
        there = [image for image in images if scope(image)]
        if named := [image for image in there if image.name == ref]:
            return named[0]
        if family := [image for image in there if image.family == ref and image.state is ImageState.READY]:
            return family[-1]
    return None


def _not_found(what: str, ref: str, field: str = "") -> NotFound:
    hint = _WHERE_TO_LOOK[what]
    return NotFound(f"there is no {what} {ref!r}", subject=f"{what} {ref}", field=field or what, value=ref, hint=hint)


async def find_port(tx: Transaction, project: str, id: str) -> tuple[Network, Port]:
    """The port of `project` with this id, and its network; raises `NotFound`."""
    port = await tx.ports.get(id)
    network = await tx.networks.get(port.network) if port is not None else None
    if port is None or network is None or port.project != project:
        raise NotFound(f"there is no port {id!r}", subject=f"port {id}", field="port", value=id)
    return network, port
