"""Records to store, every field of them told apart from its default."""

from __future__ import annotations

import os
from itertools import count
from random import Random
from typing import Any

from guesthouse.model import machine as m
from guesthouse.model import resources as r
from guesthouse.model.names import make_id
from guesthouse.store import SqlStore

# Two processes of a test must not make the same.
_random = Random(os.getpid())
_numbers = count(os.getpid() * 100_000)


def new_id() -> str:
    return make_id(_random)


def project(**fields: Any) -> r.Project:
    number = next(_numbers)
    words: dict[str, Any] = {"id": new_id(), "name": f"project{number}", "number": number}
    return r.Project(**(words | fields))


def machine(project: str, name: str, **fields: Any) -> m.Machine:
    words: dict[str, Any] = {"project": project, "name": name, "host": "here", "spec": m.MachineSpec(name=name)}
    return m.Machine(**({"id": new_id()} | words | fields))


def row_of(machine: m.Machine) -> m.MachineRow:
    """What a list shows of a machine."""
    return m.MachineRow(**{name: getattr(machine, name) for name in m.MachineRow.__struct_fields__})


def disk(project: str, name: str, **fields: Any) -> r.Disk:
    return r.Disk(**({"id": new_id(), "project": project, "name": name, "size_mib": 10} | fields))


def template(project: str, name: str, **fields: Any) -> r.Template:
    words: dict[str, Any] = {"project": project, "name": name, "image": new_id(), "spec": m.MachineSpec(name=name)}
    return r.Template(**({"id": new_id()} | words | fields))


def operation(project: str, **fields: Any) -> r.Operation:
    words: dict[str, Any] = {"kind": "launch", "subject_kind": "machine", "subject": new_id(), "subject_name": "web"}
    return r.Operation(**({"id": new_id(), "project": project, **words} | fields))


def event(project: str, name: str, **fields: Any) -> r.Event:
    words: dict[str, Any] = {
        "kind": "machine.started",
        "subject_kind": "machine",
        "subject": "m",
        "subject_name": name,
    }
    return r.Event(**({"project": project, **words} | fields))


def full_machine(project: str) -> m.Machine:
    """A machine that uses all there is: nested structs, tuples, dicts, text in all scripts."""
    forward = m.Forward(guest_port=22, host_port=2222)
    return machine(
        project,
        "web",
        image="debian:12",
        template=new_id(),
        vcpus=2,
        memory_mib=2048,
        nics=2,
        autostart=True,
        power=m.Power.RUNNING,
        generation=7,
        restart_epoch=3,
        stop_timeout_s=0,
        deleting=m.Deleting.KEEP_DISKS,
        state=m.State.RUNNING,
        stage=m.Stage.CONFIGURED,
        observed_generation=6,
        ssh_port=2222,
        spec=m.MachineSpec(
            name="web",
            disks=(m.DiskSpec(name="data", size_mib=10, bus=m.Bus.SCSI),),
            nics=(m.NicSpec(forwards=(forward,)), m.NicSpec(model=m.NicModel.E1000)),
            user_data="#cloud-config\n# größer, 東京, \x00 and 'quotes' \"\\\n",
            labels={"tier": "front"},
        ),
        status=m.MachineStatus(
            pid=4711,
            forwards=(forward,),
            outcome=m.Outcome(ok=False, failures=(m.Failure("runcmd", "exit 1"),)),
            error={"code": "failed"},
        ),
    )


async def fill(store: SqlStore) -> r.Project:
    """A project in the store, to put things in."""
    async with store.write() as transaction:
        return await transaction.projects.insert(project())
