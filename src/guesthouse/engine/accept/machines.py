"""Accepting what is asked of machines: each function writes desired state and opens one operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from guesthouse.decide import lifecycle
from guesthouse.decide.complete import complete, match_disks, match_nics, with_kept, with_macs
from guesthouse.decide.hibernation import contradicted, is_hibernated
from guesthouse.decide.lifecycle import Verb
from guesthouse.decide.placement import Verdict
from guesthouse.decide.plan import kept_disks
from guesthouse.decide.types import resized, untyped
from guesthouse.decide.validate import check_forward, check_range, check_spec, check_told
from guesthouse.engine import hibernation, intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.machine_disks import adopt_disks, make_disks, with_sizes
from guesthouse.engine.accept.metadata import changed_options, check_service
from guesthouse.engine.accept.placing import Where, explained, placed
from guesthouse.engine.accept.ports import take_places
from guesthouse.engine.accept.room import (
    check_fits,
    check_memory,
    check_project,
    check_quota,
    free_name,
    refuse_taken_name,
    refuse_taken_ports,
)
from guesthouse.engine.accept.templates import fitting, ready_templates, why_it_boots
from guesthouse.engine.described import columns, sizes
from guesthouse.engine.leaving import INTERRUPTED
from guesthouse.engine.readings import refuse_read_machine
from guesthouse.engine.snapshots import forget_all
from guesthouse.engine.undo import UNTOUCHED, Touched, kept
from guesthouse.model.errors import Conflict, Denied, Invalid, NotFound
from guesthouse.model.machine import Datasource, Deleting, Forward, Machine, MachineSpec, NicSpec, Power
from guesthouse.model.names import check_name
from guesthouse.model.resources import Image, Operation

DEFAULT_IMAGE = "micro"
MAX_STOP_TIMEOUT_S = 24 * 3600


async def launch(desk: Desk, intent: intents.Launch) -> Operation:
    """Make a machine, its disks, and an operation that brings it up."""
    if intent.spec.name:
        await refuse_taken_name(desk, "machine", intent.spec.name)
    spec, image = await _described(desk, intent.spec)
    await check_quota(desk, spec)
    ready = [] if intent.cold else await ready_templates(desk, image)
    desk = desk.at((await placed(desk, spec, image, ready, _where(desk, intent), start=intent.start)).id)
    await refuse_taken_ports(desk, spec.nics, ())
    machine_id = desk.new_id()
    ready = [template for template in ready if template.host in ("", desk.host)]
    template = fitting(ready, image, spec)
    template_id = template.id if template else ""
    boots = "" if template else why_it_boots(ready, image, spec)
    spec, touched = await make_disks(desk, machine_id, spec, image, template_id)
    spec = await take_places(desk, machine_id, spec)
    await check_service(desk, spec)
    machine = await desk.tx.machines.insert(
        Machine(
            id=machine_id,
            project=desk.asker.project,
            name=spec.name,
            host=desk.host,
            image=image.id,
            template=template_id,
            power=Power.RUNNING if intent.start else Power.STOPPED,
            spec=spec,
            **columns(spec),
        )
    )
    context = {**kept(touched), **({"boots": boots} if boots else {})}
    return await desk.open("machine.launch", machine, generation=machine.generation, context=context)


async def explain(desk: Desk, intent: intents.Launch) -> Sequence[Verdict]:
    """What becomes of each host when such a machine is asked for."""
    spec, image = await _described(desk, intent.spec)
    ready = [] if intent.cold else await ready_templates(desk, image)
    return await explained(desk, spec, image, ready, _where(desk, intent), start=intent.start)


def _where(desk: Desk, intent: intents.Launch) -> Where:
    """Where it is to be; raises `Denied` where a tenant names a host, of which tenants know nothing."""
    if intent.host and not desk.asker.house:
        raise Denied("only the operator of the house may name a host", field="host", hint="name a zone")
    return Where(host=intent.host, zone=intent.zone, way=intent.way)


async def _described(desk: Desk, spec: MachineSpec) -> tuple[MachineSpec, Image]:
    """A new machine's description with all that was left out, and its image; raises where it cannot be."""
    if not spec.name:
        spec = msgspec.structs.replace(spec, name=await free_name(desk))
    image = await desk.system_image(spec.image or DEFAULT_IMAGE)
    spec = complete(desk.random, msgspec.structs.replace(spec, image=image.name), image)
    spec = await with_sizes(desk, spec)
    check_spec(spec)
    check_told(spec)
    return spec, image


async def start(desk: Desk, intent: intents.Start) -> Operation:
    machine = await desk.machine(intent.machine)
    if lifecycle.ask(machine, Verb.START):
        await check_memory(desk.at(machine.host), machine.memory_mib)
    return await _set_power(desk, machine, Verb.START, Power.RUNNING, interrupted_at=0.0)


async def stop(desk: Desk, intent: intents.Stop, *, interrupted: bool = False) -> Operation:
    """Stop a machine; where nobody but an interruption asks for it, that stays in its record."""
    machine = await desk.machine(intent.machine)
    changes = {
        "stop_timeout_s": _timeout(intent.timeout_s, force=intent.force),
        "interrupted_at": machine.interrupted_at if interrupted else 0.0,
    }
    operation = await _set_power(desk, machine, Verb.STOP, Power.STOPPED, force=intent.force, **changes)
    if intent.force:
        await hibernation.forget(desk.tx, machine)
    return operation


async def restart(desk: Desk, intent: intents.Restart) -> Operation:
    machine = await desk.machine(intent.machine)
    timeout_s = _timeout(intent.timeout_s, force=intent.force)
    return await _set_power(
        desk,
        machine,
        Verb.RESTART,
        Power.RUNNING,
        stop_timeout_s=timeout_s,
        restart_epoch=machine.restart_epoch + 1,
    )


async def pause(desk: Desk, intent: intents.Pause) -> Operation:
    return await _set_power(desk, await desk.machine(intent.machine), Verb.PAUSE, Power.PAUSED)


async def resume(desk: Desk, intent: intents.Resume) -> Operation:
    return await _set_power(desk, await desk.machine(intent.machine), Verb.RESUME, Power.RUNNING)


async def delete(desk: Desk, intent: intents.Delete, *, interrupted: bool = False) -> Operation:
    """Ask for a machine's end. Asked again after a failed try, it tries again."""
    machine = await desk.machine(intent.machine)
    if machine.deleting and (under_way := await desk.open_operations(machine.id)):
        operation = await desk.tx.operations.get(under_way[-1].id)
        assert operation is not None
        return operation
    await refuse_to_delete(desk, machine, keep_disks=intent.keep_disks)
    await desk.clear_the_way(machine, Verb.DELETE)
    await forget_all(desk.tx, machine)
    deleting = Deleting.KEEP_DISKS if intent.keep_disks else Deleting.WITH_DISKS
    more = {INTERRUPTED: True} if interrupted else {}
    return await desired(desk, machine, "machine.delete", more=more, deleting=deleting)


async def refuse_to_delete(desk: Desk, machine: Machine, *, keep_disks: bool = False) -> None:
    """Raise `Conflict` where the machine is protected, or somebody needs what would go with it."""
    refuse_protected(machine)
    if keep_disks or kept_disks(machine.spec):
        await _refuse_snapshots(desk, machine)
    await refuse_read_machine(desk.tx, machine, gone=True)


async def rename(desk: Desk, intent: intents.Rename) -> Operation:
    """Change a machine's name here; the guest learns its new hostname only if it is told inside."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    check_name(intent.name, "machine")
    if intent.name != machine.name:
        await refuse_taken_name(desk, "machine", intent.name)
    return await _respec(desk, machine, msgspec.structs.replace(machine.spec, name=intent.name), "machine.rename")


async def change(desk: Desk, intent: intents.Change) -> Operation:
    """Write the fields that were said into the machine's description."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    said = {
        name: getattr(intent, name)
        for name in intent.__struct_fields__
        if name != "machine" and getattr(intent, name) is not None
    }
    if not said:
        raise Invalid("nothing to change", field="changes", hint="name a field, like --memory 1G")
    if intent.metadata is not None:
        said["metadata"] = changed_options(machine.spec.metadata, intent.metadata)
    if intent.user_data is not None or intent.user_data_encoding is not None:
        _refuse_seeded(machine)
    spec = with_kept(machine.spec, said.pop("keep", {}))
    if type_ := said.pop("type", ""):
        spec = resized(spec, type_)
    spec = with_macs(desk.random, msgspec.structs.replace(spec, **said))
    return await change_to(desk, machine, spec if type_ else untyped(spec))


async def apply(desk: Desk, intent: intents.Apply) -> Operation:
    """Launch the machine that the document describes, or change the one of that name into it."""
    if not intent.spec.name:
        raise Invalid("the document names no machine", field="name", hint="add `name: web`")
    if not await desk.tx.machines.scan(project=desk.asker.project, name=intent.spec.name):
        return await launch(desk, intents.Launch(spec=intent.spec))
    machine = await desk.machine_to_change(intent.spec.name, described=True)
    image = await desk.image_under(machine)
    spec = intent.spec if intent.spec.image else msgspec.structs.replace(intent.spec, image=machine.spec.image)
    spec = match_nics(machine.spec, spec)
    for name in ("image", "user_data", "user_data_encoding", "datasource"):
        if getattr(spec, name) != getattr(machine.spec, name):
            raise Invalid(
                f"machine {machine.name}: {name} cannot change after the launch",
                subject=f"machine {machine.name}",
                field=name,
                hint="delete the machine and launch it anew",
            )
    spec = await with_sizes(desk, match_disks(machine.spec, complete(desk.random, spec, image)))
    spec, touched = await adopt_disks(desk, machine, spec, image)
    return await change_to(desk, machine, spec, touched)


async def forward_add(desk: Desk, intent: intents.ForwardAdd) -> Operation:
    """Forward one more port to the machine's first NIC."""
    machine = await desk.machine_to_change(intent.machine, described=True)
    check_forward(intent.forward)
    nic = _first_nic(machine)
    return await change_to(desk, machine, _with_forwards(machine, (*nic.forwards, intent.forward)))


async def forward_remove(desk: Desk, intent: intents.ForwardRemove) -> Operation:
    machine = await desk.machine_to_change(intent.machine, described=True)
    nic = _first_nic(machine)
    kept = tuple(f for f in nic.forwards if (f.guest_port, f.protocol) != (intent.guest_port, intent.protocol))
    if len(kept) == len(nic.forwards):
        raise NotFound(
            f"machine {machine.name} forwards no {intent.protocol} port to {intent.guest_port}",
            subject=f"machine {machine.name}",
            field="guest_port",
            value=intent.guest_port,
            hint=f"`guest show {machine.name}` shows its forwards",
        )
    return await change_to(desk, machine, _with_forwards(machine, kept))


# --- what they share -----------------------------------------------------------------------------------------


async def desired(
    desk: Desk,
    machine: Machine,
    kind: str,
    touched: Touched = UNTOUCHED,
    more: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Operation:
    """Write a new desired state, one generation up, and the operation that wants it and could restore the old.

    `more` is what its context needs beside that.
    """
    generation = machine.generation + 1
    written = await desk.tx.machines.update(
        machine.id, {"generation": machine.generation}, generation=generation, **changes
    )
    assert written, "a write transaction has the machine for itself"
    renamed = msgspec.structs.replace(machine, name=changes.get("name", machine.name))
    context = {**kept(touched, machine, places=desk.before), **(more or {})}
    return await desk.open(kind, renamed, machine=machine.id, generation=generation, context=context)


async def _set_power(
    desk: Desk, machine: Machine, verb: Verb, power: Power, *, force: bool = False, **changes: Any
) -> Operation:
    go = lifecycle.ask(machine, verb)
    kind = f"machine.{verb.value}"
    if not go and not lifecycle.supersedes(verb, force=force):
        under_way = await desk.open_operations(machine.id)
        if not under_way:
            return await desk.open(kind, machine, generation=machine.generation, done=True)
    await desk.clear_the_way(machine, verb, force=force)
    return await desired(desk, machine, kind, power=power, **changes)


async def change_to(desk: Desk, machine: Machine, spec: MachineSpec, touched: Touched = UNTOUCHED) -> Operation:
    """Want a machine, which may be changed, as described; raises where that cannot be."""
    check_spec(spec)
    if spec.type != machine.spec.type:
        await check_fits(desk.at(machine.host), spec)
    if spec.memory_mib > machine.memory_mib and machine.power is not Power.STOPPED:
        await check_memory(desk.at(machine.host), spec.memory_mib - machine.memory_mib)
    await check_growth(desk, machine, spec)
    return await _respec(desk, machine, spec, "machine.change", touched)


async def check_growth(desk: Desk, machine: Machine, spec: MachineSpec) -> None:
    """Raise unless the project may have what the machine would have more, and the ports that it would are free."""
    more = {name: value - getattr(machine, name) for name, value in sizes(spec).items()}
    await check_project(desk, **more)
    mine = tuple(forward for nic in machine.spec.nics for forward in nic.forwards)
    await refuse_taken_ports(desk, spec.nics, mine)


async def _respec(
    desk: Desk, machine: Machine, spec: MachineSpec, kind: str, touched: Touched = UNTOUCHED
) -> Operation:
    if is_hibernated(machine) and (fields := contradicted(machine.spec, spec)):
        hibernation.refuse_hibernated(machine, *fields)
    spec = await take_places(desk, machine.id, spec)
    await check_service(desk, spec)
    return await desired(desk, machine, kind, touched, spec=spec, name=spec.name, **columns(spec))


def refuse_protected(machine: Machine) -> None:
    """Raise `Conflict` where the machine is protected from being deleted."""
    if machine.spec.protected:
        raise Conflict(
            f"machine {machine.name} is protected from being deleted",
            subject=f"machine {machine.name}",
            field="protected",
            hint=f"`guest set {machine.name} --protected no` takes that away",
        )


def _refuse_seeded(machine: Machine) -> None:
    if machine.spec.datasource is Datasource.SEED:
        raise Conflict(
            f"machine {machine.name} has its user-data on a seed disk, which is written once",
            subject=f"machine {machine.name}",
            field="user_data",
            hint="delete the machine and launch it anew; with `--datasource metadata` it can be changed",
        )


async def _refuse_snapshots(desk: Desk, machine: Machine) -> None:
    alone = machine.restore if await hibernation.rests(desk.tx, machine) else ""
    if snapshots := [row for row in await desk.tx.snapshots.scan(machine=machine.id) if row.id != alone]:
        raise Conflict(
            f"machine {machine.name} has {len(snapshots)} snapshots, which cannot outlast it",
            subject=f"machine {machine.name}",
            field="keep_disks",
            value=", ".join(row.name for row in snapshots[:5]),
            hint=f"`guest snapshot delete {machine.name} {snapshots[0].name}` first, or delete it with its disks",
        )


def _timeout(timeout_s: int, *, force: bool) -> int:
    return 0 if force else check_range("timeout_s", timeout_s, 1, MAX_STOP_TIMEOUT_S)


def _first_nic(machine: Machine) -> NicSpec:
    if not machine.spec.nics:
        raise Conflict(f"machine {machine.name} has no NIC", subject=f"machine {machine.name}", hint="add one first")
    return machine.spec.nics[0]


def _with_forwards(machine: Machine, forwards: tuple[Forward, ...]) -> MachineSpec:
    first, *others = machine.spec.nics
    nics = (msgspec.structs.replace(first, forwards=forwards), *others)
    return msgspec.structs.replace(machine.spec, nics=nics)
