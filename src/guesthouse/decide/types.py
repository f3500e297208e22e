"""What a type, a cloud's name of a size, says of a machine that is launched with it.

Rules
-----
1. A machine of a type has its vCPUs and its memory. Where the description leaves them out (that is: as they are by
   default) they are the type's; where it says others it is refused.
2. The disks that a type comes with are empty disks of the machine's, called `store-0` and so on, that go with it.
3. A type that this host cannot have is refused: one with graphics processors, with more memory than the host has, or
   with more vCPUs than it has processors. Two vCPUs can be had anywhere: the smallest types of most families have them.
"""

from __future__ import annotations

import msgspec

from guesthouse.catalog.ec2_types import InstanceType
from guesthouse.catalog.types import TYPES, near
from guesthouse.model.errors import Invalid, NoCapacity
from guesthouse.model.machine import DiskSpec, MachineSpec

_FEWEST_VCPUS = 2
_MIB_OF_GB = 1000**3 / (1 << 20)
_UNSAID = MachineSpec(name="")


def type_named(name: str) -> InstanceType:
    """The type of that name; raises `Invalid` with the names that are written nearly so."""
    if (found := TYPES.get(name)) is not None:
        return found
    like = ", ".join(near(name))
    hint = f"is it one of {like}? `guest type list` shows all" if like else "`guest type list` shows all"
    raise Invalid(f"there is no type {name!r}", field="type", value=name, hint=hint)


def with_type(spec: MachineSpec) -> MachineSpec:
    """A new machine's description with what its type says of it; raises `Invalid` where there is no such type."""
    if not spec.type:
        return spec
    found = type_named(spec.type)
    if (spec.vcpus, spec.memory_mib) == (_UNSAID.vcpus, _UNSAID.memory_mib):
        spec = msgspec.structs.replace(spec, vcpus=found.vcpus, memory_mib=found.memory_mib)
    there = {disk.name for disk in spec.disks}
    stores = (disk for disk in stores_of(found) if disk.name not in there)
    return msgspec.structs.replace(spec, disks=(*spec.disks, *stores))


def stores_of(type_: InstanceType) -> list[DiskSpec]:
    """The disks that a type comes with."""
    if type_.store is None:
        return []
    size_mib = int(type_.store.size_gb * _MIB_OF_GB)
    return [DiskSpec(name=f"store-{number}", size_mib=size_mib) for number in range(type_.store.number)]


def resized(spec: MachineSpec, type_: str) -> MachineSpec:
    """A machine's description with another type; raises `Invalid` where that comes with other disks."""
    new = type_named(type_)
    old = TYPES.get(spec.type)
    if new.store != (old.store if old else None):
        raise Invalid(
            f"a machine cannot become a {type_}: the disks that it comes with are others",
            field="type",
            value=type_,
            hint="launch another machine",
        )
    return msgspec.structs.replace(spec, type=type_, vcpus=new.vcpus, memory_mib=new.memory_mib)


def untyped(spec: MachineSpec) -> MachineSpec:
    """The description without its type where it has another size."""
    known = TYPES.get(spec.type)
    is_so = known is not None and (known.vcpus, known.memory_mib) == (spec.vcpus, spec.memory_mib)
    return spec if is_so or not spec.type else msgspec.structs.replace(spec, type="")


def check_type(spec: MachineSpec) -> None:
    """Raise `Invalid` where the sizes of a description are not those of its type."""
    if not spec.type:
        return
    known = type_named(spec.type)
    for field in ("vcpus", "memory_mib"):
        if (said := getattr(spec, field)) != (has := getattr(known, field)):
            raise Invalid(
                f"a {spec.type} has {has} {field}, not {said}",
                field=field,
                value=said,
                hint="leave either the type or the size out",
            )


def why_not(type_: InstanceType, cpus: int, memory_mib: int) -> str:
    """Why a host with so many processors and so much memory cannot have machines of a type; "" where it can."""
    if type_.gpus:
        return f"it has {type_.gpus} {type_.graphics.name if type_.graphics else ''}, and this host gives none away"
    if type_.vcpus > max(cpus, _FEWEST_VCPUS):
        return f"it has {type_.vcpus} vCPUs, this host {cpus} processors"
    if type_.memory_mib > memory_mib:
        return f"it has {type_.memory_mib} MiB of memory, this host {memory_mib}"
    return ""


def refuse_too_large(spec: MachineSpec, cpus: int, memory_mib: int) -> None:
    """Raise `NoCapacity` where the host cannot have machines of the description's type."""
    if spec.type and (why := why_not(type_named(spec.type), cpus, memory_mib)):
        raise NoCapacity(
            f"this host cannot have a {spec.type}: {why}",
            field="type",
            value=spec.type,
            hint="`guest type list` shows which it can have",
        )
