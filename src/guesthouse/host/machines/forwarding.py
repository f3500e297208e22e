"""Leading ports of the host's loopback to a guest.

Rules
-----
1. A port that the user gave is that port, or a `Conflict` that names who has it.
2. A port that the house chooses is the one of the run before, if it is free: `ssh` keeps working.
3. The record names the forwards before QEMU is told. Done again, all of them are taken away first.
"""

from __future__ import annotations

import msgspec

from guesthouse.host.machines.folder import Record
from guesthouse.host.machines.run import Run
from guesthouse.host.network_ports import describe_holder, free_port, is_free
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.machine import Forward, NicSpec
from guesthouse.qemu import hotplug

_TRIES = 5


def chosen(nic: NicSpec, before: tuple[Forward, ...]) -> tuple[Forward, ...]:
    """The forwards of a NIC with real ports; `before` are those of the last run."""
    return tuple(forward if forward.host_port else _choose(forward, before) for forward in nic.forwards)


async def set_first_forwards(run: Run, nic: NicSpec) -> None:
    """Make the forwards that the record of a QEMU just started names; raises as `set_forwards` does."""
    try:
        for forward in run.record.forwards[nic.mac]:
            said = await run.monitor.execute(hotplug.forward_add(run.record.placed, nic.mac, forward))
            hotplug.check_forward(said, forward)
    except Failed:
        # Somebody took a port in between: choose another, or find out who it is.
        await set_forwards(run, nic)
    else:
        run.remember(_realised(run.record, nic))


async def set_forwards(run: Run, nic: NicSpec) -> None:
    """Make the forwards of a NIC those of `nic`; raises `Conflict` naming the port that is taken."""
    for forward in run.record.forwards.get(nic.mac, ()):
        await run.monitor.execute(hotplug.forward_remove(run.record.placed, nic.mac, forward))
    before = (*run.record.forwards.get(nic.mac, ()), *run.record.forwards_before.get(nic.mac, ()))
    _remember(run, nic.mac, ())
    for wanted in nic.forwards:
        await _add(run, nic.mac, wanted, before)
    run.remember(_realised(run.record, nic))


async def _add(run: Run, mac: str, wanted: Forward, before: tuple[Forward, ...]) -> None:
    for _ in range(_TRIES):
        forward = wanted if wanted.host_port else _choose(wanted, before)
        _remember(run, mac, (*run.record.forwards.get(mac, ()), forward))
        said = await run.monitor.execute(hotplug.forward_add(run.record.placed, mac, forward))
        try:
            hotplug.check_forward(said, forward)
        except Failed as error:
            _remember(run, mac, run.record.forwards[mac][:-1])
            if wanted.host_port:
                raise _taken(forward) from error
            before = ()  # somebody took the port between our choice and QEMU's bind: choose another
        else:
            return
    raise Conflict("no free port was found on the host's loopback", field="forwards", value=wanted.guest_port)


def _choose(wanted: Forward, before: tuple[Forward, ...]) -> Forward:
    for old in before:
        same = (old.guest_port, old.protocol) == (wanted.guest_port, wanted.protocol)
        if same and is_free(old.host_port, old.protocol):
            return old
    return msgspec.structs.replace(wanted, host_port=free_port(wanted.protocol))


def _taken(forward: Forward) -> Conflict:
    return Conflict(
        f"port {forward.host_port}/{forward.protocol} of the host is taken{describe_holder(forward)}",
        field="forwards",
        value=forward.host_port,
        hint="choose another port, or 0 to have one chosen",
    )


def _remember(run: Run, mac: str, forwards: tuple[Forward, ...]) -> None:
    if run.record.forwards.get(mac, ()) != forwards:
        run.remember(msgspec.structs.replace(run.record, forwards={**run.record.forwards, mac: forwards}))


def _realised(record: Record, nic: NicSpec) -> Record:
    nics = tuple(
        msgspec.structs.replace(has, forwards=nic.forwards) if has.mac == nic.mac else has for has in record.spec.nics
    )
    return msgspec.structs.replace(record, spec=msgspec.structs.replace(record.spec, nics=nics))
