"""The machines of a host in memory: every step succeeds at once, and a guest is configured when it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from guesthouse.decide import steps
from guesthouse.decide.layers import layers_of
from guesthouse.decide.observed import Desired, DiskSeen, Observed, ProcessSeen, SnapshotSeen
from guesthouse.decide.steps import Step
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.machine import MachineSpec, NicSpec, Outcome, Stage
from guesthouse.model.resources import Disk
from guesthouse.ports import Progress

FIRST_PORT = 40022


class FakeMachines:
    """`ports.MachineHost`: what each machine looks like is an `Observed` in a dict.

    A step named in `gates` waits for its event first; one named in `faults` fails with that error, the plugging of a
    NIC also where it is named with its network (``plug-nic back``). With `forks` the
    first start of a machine with a template is a fork of that. `restored` are the snapshots that were gone on from,
    `settled_bytes` is what the memory of one takes up when it is settled.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Observed] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.faults: dict[str, GuesthouseError] = {}
        self.forks = True
        self.restored: list[str] = []
        self.settled_bytes = 1 << 20
        self._forked: set[str] = set()
        self._restored: set[tuple[str, int]] = set()
        self._happened: asyncio.Queue[str] = asyncio.Queue()
        self._pids = iter(range(1000, 1_000_000))

    async def observe(self, desired: Desired) -> Observed:
        seen = self.seen.get(desired.machine.id, Observed())
        forks = {disk.id: self.seen.get(disk.machine, Observed()).disks.get(disk.id) for disk in desired.forks}
        networks = {each.network.id: each.network.generation for each in desired.networks}
        disks = {**seen.disks, **{id: disk for id, disk in forks.items() if disk is not None}}
        return replace(seen, disks=disks, networks=networks)

    async def perform(self, step: Step, desired: Desired, progress: Progress) -> None:
        if gate := self.gates.get(step.name):
            progress("waiting at the gate", 50.0)
            await gate.wait()
        if fault := self.faults.get(step.name) or self.faults.get(_precisely(step)):
            raise fault
        before = self.seen.get(desired.machine.id, Observed())
        self.seen[desired.machine.id] = _PERFORM[type(step)](self, step, desired, before)

    async def follow(self) -> AsyncIterator[str]:
        while True:
            yield await self._happened.get()

    def stir(self, machine: str) -> None:
        """Something happens with a machine that changes nothing: its owner looks at it."""
        self._happened.put_nowait(machine)

    def power_off(self, machine: str) -> None:
        """The guest powers itself off."""
        self.fall_into(machine, "shutdown")

    def fall_into(self, machine: str, runstate: str) -> None:
        """QEMU falls into a run state of its own; an empty one: the process is gone."""
        seen = self.seen[machine]
        assert seen.process is not None
        process = replace(seen.process, runstate=runstate) if runstate else None
        self.seen[machine] = replace(seen, process=process)
        self._happened.put_nowait(machine)

    def alone(self, machine: str, disk: str) -> None:
        """No other disk has a disk's layers any more."""
        seen = self.seen[machine]
        self.seen[machine] = replace(seen, disks={**seen.disks, disk: replace(seen.disks[disk], shared=frozenset())})

    def start(self, step: Step, desired: Desired, before: Observed) -> Observed:
        machine = desired.machine
        pid = next(self._pids)
        forked = self.forks and desired.template is not None and machine.id not in self._forked
        if forked:
            self._forked.add(machine.id)
        process = ProcessSeen(
            pid=pid,
            runstate="prelaunch",
            spec=msgspec.structs.replace(machine.spec, nics=_unforwarded(machine.spec)),
            restart_epoch=machine.restart_epoch,
            boot_memory_mib=machine.spec.memory_mib,
            started_at=1.0,
            accelerator="tcg",
            ssh_port=0 if any(nic.network for nic in machine.spec.nics) else FIRST_PORT + pid - 1000,
            screen=f"/fake/{machine.id}/screen" if machine.spec.screen else "",
            forked=forked,
            layers={disk.id: disk.layer for disk in desired.disks},
        )
        restored = desired.restore is not None and (machine.id, machine.restore_epoch) not in self._restored
        if restored:
            self._restored.add((machine.id, machine.restore_epoch))
            process = replace(process, stage=Stage.CONFIGURED, outcome=Outcome(ok=True, source="NoCloud"))
            if desired.source is not None:
                process = replace(process, stage=Stage.RUNNING, outcome=None, nameless=True)
            self.restored.append(machine.restore)
        return replace(before, folder=True, process=process, host_key="ssh-ed25519 AAAA")


def _precisely(step: Step) -> str:
    return f"{step.name} {step.nic.network}" if isinstance(step, steps.PlugNic) else ""


def _unforwarded(spec: MachineSpec) -> Any:
    return tuple(msgspec.structs.replace(nic, forwards=()) for nic in spec.nics)


def _process(**changes: Any) -> Callable[..., Observed]:
    def change(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
        assert before.process is not None
        return replace(before, process=replace(before.process, **changes))

    return change


_CONFIGURED: Mapping[str, Any] = {"stage": Stage.CONFIGURED, "outcome": Outcome(ok=True, source="NoCloud")}


def _resumed(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
    assert before.process is not None
    known = {} if before.process.nameless else _CONFIGURED
    return replace(before, process=replace(before.process, runstate="running", **known))


def _ended(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
    return replace(before, process=None)


def _realised(field: str) -> Callable[..., Observed]:
    """The process has the wanted disks, NICs or memory; the rest waits for its turn, or for the next start."""

    def change(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
        assert before.process is not None
        spec = msgspec.structs.replace(before.process.spec, **{field: getattr(desired.machine.spec, field)})
        forwards = tuple(forward for nic in spec.nics for forward in nic.forwards)
        return replace(before, process=replace(before.process, spec=spec, forwards=forwards))

    return change


def _plugged(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return _with_nics(before, (*_others(before, step.nic), msgspec.structs.replace(step.nic, forwards=())))


def _unplugged(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return _with_nics(before, _others(before, step.nic))


def _others(seen: Observed, nic: NicSpec) -> tuple[NicSpec, ...]:
    assert seen.process is not None
    return tuple(each for each in seen.process.spec.nics if each.mac != nic.mac)


def _with_nics(seen: Observed, nics: tuple[NicSpec, ...]) -> Observed:
    assert seen.process is not None
    return replace(seen, process=replace(seen.process, spec=msgspec.structs.replace(seen.process.spec, nics=nics)))


def _sized(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return _layered(before, step.disk, {step.disk.layer: layers_of(step.disk)[step.disk.layer]})


def _layered(before: Observed, disk: Disk, layers: Mapping[str, str | None]) -> Observed:
    there = before.disks[disk.id].layers if disk.id in before.disks else {}
    shared = before.disks[disk.id].shared if disk.id in before.disks else frozenset[str]()
    return replace(before, disks={**before.disks, disk.id: DiskSeen(disk.size_mib, {**there, **layers}, shared)})


def _shared(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    """What both machines then see of their disks."""
    disk: Disk = step.disk
    source = before.disks[disk.origin]
    layers = {layer: under for layer, under in layers_of(disk).items() if layer != disk.layer}
    fork = host.seen.get(disk.machine, Observed())
    seen = DiskSeen(disk.size_mib, layers, frozenset(layers))
    host.seen[disk.machine] = replace(fork, disks={**fork.disks, disk.id: seen})
    known = replace(source, shared=source.shared | set(layers))
    return replace(before, disks={**before.disks, disk.origin: known})


def _taken(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    memory = step.snapshot.memory
    seen = SnapshotSeen(40 if before.process else 0, 1 << 20 if memory else 0, unsettled=memory)
    after = replace(before, snapshots={**before.snapshots, step.snapshot.id: seen})
    for disk in desired.disks if before.process else ():
        after = _layered(after, disk, {disk.layer: layers_of(disk)[disk.layer]})
    if before.process:
        after = replace(after, process=replace(before.process, layers={d.id: d.layer for d in desired.disks}))
    return after


def _settled(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    seen = replace(before.snapshots[step.snapshot.id], memory_bytes=host.settled_bytes, unsettled=False)
    return replace(before, snapshots={**before.snapshots, step.snapshot.id: seen})


def _merged(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return _layered(before, step.disk, {step.layer: layers_of(step.disk)[step.layer]})


def _unlayered(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    seen = before.disks[step.disk.id]
    assert step.layer not in seen.layers.values(), "a layer stands on it"
    layers = {layer: under for layer, under in seen.layers.items() if layer != step.layer}
    return replace(before, disks={**before.disks, step.disk.id: replace(seen, layers=layers)})


def _unkept(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return replace(before, snapshots={id: seen for id, seen in before.snapshots.items() if id != step.snapshot.id})


def _without(host: FakeMachines, step: Any, desired: Desired, before: Observed) -> Observed:
    return replace(before, disks={id: seen for id, seen in before.disks.items() if id != step.disk.id})


def _seeded(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
    return replace(before, folder=True, seeded=True)


def _same(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
    return before


def _bare(host: FakeMachines, step: Step, desired: Desired, before: Observed) -> Observed:
    return replace(before, folder=False, seeded=False)


_PERFORM: dict[type[Step], Callable[..., Observed]] = {
    steps.MakeDisk: _sized,
    steps.GrowDisk: _sized,
    steps.WriteSeed: _seeded,
    steps.Start: FakeMachines.start,
    steps.Resume: _resumed,
    steps.Pause: _process(runstate="paused"),
    steps.Shutdown: _ended,
    steps.Kill: _ended,
    steps.PlugDisk: _realised("disks"),
    steps.UnplugDisk: _realised("disks"),
    steps.PlugNic: _plugged,
    steps.UnplugNic: _unplugged,
    steps.SetForwards: _realised("nics"),
    steps.ApplyNetworks: _same,
    steps.SetMemory: _realised("memory_mib"),
    steps.RemoveDisk: _without,
    steps.RemoveFolder: _bare,
    steps.TakeSnapshot: _taken,
    steps.ShareLayers: _shared,
    steps.GiveIdentity: _process(nameless=False, **_CONFIGURED),
    steps.GiveWay: _ended,
    steps.MergeLayer: _merged,
    steps.RemoveLayer: _unlayered,
    steps.RemoveSnapshot: _unkept,
    steps.SettleMemory: _settled,
}
