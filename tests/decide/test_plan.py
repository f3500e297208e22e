"""The plan leads to what is wanted, whatever was there, and planning again then yields nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from guesthouse.decide import steps as p
from guesthouse.decide.observed import Desired, DiskSeen, Observed, ProcessSeen, SnapshotSeen
from guesthouse.decide.plan import Lapse, hot_pluggable, lapse, plan, waiting_for_restart
from guesthouse.decide.steps import STEPS, Step
from guesthouse.model.machine import Bus, Datasource, Deleting, DiskSpec, Forward, Machine, MachineSpec, NicSpec, Power
from guesthouse.model.network import Network, NetworkMode, NetworkWanted
from guesthouse.model.resources import Disk, Snapshot, SnapshotState


def perform(step: Step, desired: Desired, observed: Observed) -> Observed:
    """What a step leaves behind when it succeeds: the model of a host."""
    machine = desired.machine
    disks = dict(observed.disks)
    process = observed.process
    match step:
        case p.MakeDisk(disk) | p.GrowDisk(disk):
            disks[disk.id] = DiskSeen(disk.size_mib)
            return replace(observed, disks=disks)
        case p.RemoveDisk(disk):
            assert process is None or disk.id not in {held.disk for held in process.spec.disks}
            del disks[disk.id]
            return replace(observed, disks=disks)
        case p.WriteSeed():
            assert machine.spec.datasource is Datasource.SEED
            return replace(observed, seeded=True, folder=True)
        case p.Start():
            assert process is None
            nics = tuple(msgspec.structs.replace(nic, forwards=()) for nic in machine.spec.nics)
            spec = msgspec.structs.replace(machine.spec, nics=nics)
            return replace(
                observed,
                folder=True,
                networks=generations(desired),
                process=ProcessSeen(1, "prelaunch", spec, machine.restart_epoch, spec.memory_mib),
            )
        case p.ApplyNetworks():
            assert process is not None
            return replace(observed, networks=generations(desired))
        case p.Shutdown() | p.Kill():
            assert process is not None
            return replace(observed, process=None)
        case p.RemoveFolder():
            assert process is None
            return replace(observed, folder=False, seeded=False)
    assert process is not None
    return replace(observed, process=_hot(step, process))


def generations(desired: Desired) -> dict[str, int]:
    return {each.network.id: each.network.generation for each in desired.networks}


def _hot(step: Step, process: ProcessSeen) -> ProcessSeen:
    spec = process.spec
    match step:
        case p.Resume():
            return replace(process, runstate="running")
        case p.Pause():
            return replace(process, runstate="paused")
        case p.PlugDisk(disk):
            spec = msgspec.structs.replace(spec, disks=(*spec.disks, disk))
        case p.UnplugDisk(disk):
            spec = msgspec.structs.replace(spec, disks=tuple(d for d in spec.disks if d.disk != disk.disk))
        case p.PlugNic(nic):
            bare = msgspec.structs.replace(nic, forwards=())
            spec = msgspec.structs.replace(spec, nics=(*spec.nics, bare))
        case p.UnplugNic(nic):
            spec = msgspec.structs.replace(spec, nics=tuple(n for n in spec.nics if n.mac != nic.mac))
        case p.SetForwards(nic):
            nics = tuple(nic if n.mac == nic.mac else n for n in spec.nics)
            spec = msgspec.structs.replace(spec, nics=nics)
        case p.SetMemory(memory_mib):
            spec = msgspec.structs.replace(spec, memory_mib=memory_mib)
        case _:
            raise AssertionError(step)
    return replace(process, spec=spec)


def converge(desired: Desired, observed: Observed) -> tuple[Observed, list[str]]:
    """Perform the first step of each plan until there is none; fails when that takes too long."""
    names: list[str] = []
    while steps := plan(desired, observed):
        observed = perform(steps[0], desired, observed)
        names.append(steps[0].name)
        assert len(names) < 60, f"no end: {names}"
    return observed, names


FORWARDS = st.lists(st.integers(1, 4), max_size=3, unique=True).map(
    lambda ports: tuple(Forward(guest_port=port) for port in ports)
)
NICS = st.lists(
    st.one_of(
        st.builds(NicSpec, mac=st.sampled_from(["a", "b"]), forwards=FORWARDS),
        st.builds(
            NicSpec,
            mac=st.sampled_from(["b", "c"]),
            network=st.sampled_from(["back", "front"]),
            address=st.sampled_from(["10.0.0.2", "10.0.0.3"]),
            forwards=FORWARDS,
        ),
    ),
    max_size=3,
    unique_by=lambda n: n.mac,
).map(tuple)
DISK_SPECS = st.lists(
    st.builds(
        DiskSpec,
        name=st.sampled_from(["root", "data", "more"]),
        size_mib=st.integers(1, 9),
        bus=st.sampled_from(list(Bus)),
    ),
    max_size=3,
    unique_by=lambda d: d.name,
).map(lambda disks: tuple(msgspec.structs.replace(d, disk=f"id-{d.name}") for d in disks))
SPECS = st.builds(
    MachineSpec,
    name=st.just("web"),
    vcpus=st.integers(1, 4),
    memory_mib=st.integers(64, 80),
    nics=NICS,
    disks=DISK_SPECS,
    balloon=st.booleans(),
    datasource=st.sampled_from(list(Datasource)),
)
MACHINES = st.builds(
    Machine,
    id=st.just("m"),
    project=st.just("p"),
    name=st.just("web"),
    host=st.just("h"),
    power=st.sampled_from(list(Power)),
    restart_epoch=st.integers(0, 3),
    stop_timeout_s=st.sampled_from([0, 60]),
    deleting=st.sampled_from([Deleting.NO] * 6 + [Deleting.KEEP_DISKS, Deleting.WITH_DISKS]),
    spec=SPECS,
)


LEAVING = st.sets(st.sampled_from(["root", "data", "more"]))


def desired_of(machine: Machine, leaving: Iterable[str] = (), generation: int = 1) -> Desired:
    """With disks of these names leaving, but for those that the description names; its network is of a generation."""
    back = Network(id="n", project="p", name="back", mode=NetworkMode.NAT, number=1, generation=generation)
    disks = tuple(
        Disk(id=spec.disk, project="p", name=spec.name, size_mib=spec.size_mib) for spec in machine.spec.disks
    )
    named = {disk.name for disk in disks}
    return Desired(
        machine=machine,
        disks=disks,
        leaving=tuple(
            Disk(id=f"id-{name}", project="p", name=name, size_mib=1) for name in sorted(leaving) if name not in named
        ),
        networks=(NetworkWanted(network=back),) if any(nic.network for nic in machine.spec.nics) else (),
    )


class Life(RuleBasedStateMachine):
    """A machine that is asked for anything, by anybody, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.observed = Observed()
        self.desired: Desired | None = None

    @rule(
        machine=MACHINES,
        leaving=LEAVING,
        generation=st.integers(1, 3),
        interrupted_after=st.none() | st.integers(0, 3),
    )
    def ask(self, machine: Machine, leaving: set[str], generation: int, interrupted_after: int | None) -> None:
        """A new desired state; its daemon may die after a few steps, and the next request comes in between."""
        self.desired = desired_of(machine, leaving, generation)
        if interrupted_after is None:
            return
        for _ in range(interrupted_after):
            if steps := plan(self.desired, self.observed):
                self.observed = perform(steps[0], self.desired, self.observed)

    @rule(runstate=st.sampled_from(["running", "paused", "shutdown", "internal-error", None]))
    def guest_does(self, runstate: str | None) -> None:
        """The guest, or QEMU, does something by itself."""
        if process := self.observed.process:
            changed = replace(process, runstate=runstate) if runstate else None
            self.observed = replace(self.observed, process=changed)

    @rule()
    def finish(self) -> None:
        if self.desired is None:
            return
        process = self.observed.process
        if process and process.runstate in ("shutdown", "internal-error") and self.desired.machine.power != "stopped":
            return  # a lapse: the engine wants something else first
        self.observed, _ = converge(self.desired, self.observed)
        self._check(self.desired, self.observed)

    def _check(self, desired: Desired, observed: Observed) -> None:
        machine, process = desired.machine, observed.process
        held = {disk.disk for disk in process.spec.disks if not hot_pluggable(disk)} if process else set()
        assert {disk.id for disk in desired.leaving} & set(observed.disks) <= held
        if machine.deleting:
            assert process is None
            assert not observed.folder
            if machine.deleting is Deleting.WITH_DISKS:
                assert not {disk.id for disk in desired.disks} & set(observed.disks)
            return
        assert (process is None) == (machine.power is Power.STOPPED)
        assert all(observed.disks[disk.id].size_mib >= disk.size_mib for disk in desired.disks)
        if process is not None:
            assert (process.runstate == "running") == (machine.power is Power.RUNNING)
            assert process.restart_epoch == machine.restart_epoch
            assert all(observed.networks.get(id, 0) >= wanted for id, wanted in generations(desired).items())
            waiting = waiting_for_restart(machine.spec, process)
            for name in ("vcpus", "memory_mib", "disks"):
                if name not in waiting:
                    assert _same(getattr(machine.spec, name), getattr(process.spec, name)), name
            assert _same(_of_qemu(machine.spec.nics), _of_qemu(process.spec.nics))

    @invariant()
    def plan_is_total(self) -> None:
        if self.desired is not None:
            plan(self.desired, self.observed)
            lapse(self.desired, self.observed)


def _of_qemu(nics: Iterable[NicSpec]) -> tuple[NicSpec, ...]:
    """NICs with what of them is QEMU's to have: the forwards of one on a network are the network's."""
    return tuple(msgspec.structs.replace(nic, forwards=()) if nic.network else nic for nic in nics)


def _same(one: object, other: object) -> bool:
    """Equal, whatever the order of devices: live changes append."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return sorted(map(repr, one)) == sorted(map(repr, other))
    return one == other


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=15, deadline=None)


@given(MACHINES, MACHINES)
def test_from_any_reached_state_to_any_other(first: Machine, second: Machine) -> None:
    observed, _ = converge(desired_of(first), Observed())
    if first.deleting:
        return
    observed, _ = converge(desired_of(second), observed)
    assert plan(desired_of(second), observed) == ()


def machine(power: Power = Power.RUNNING, **more: object) -> Machine:
    spec = MachineSpec(
        name="web",
        disks=(DiskSpec(disk="d", size_mib=10),),
        nics=(NicSpec(mac="a", forwards=(Forward(guest_port=22),)),),
    )
    return Machine(**{"id": "m", "project": "p", "name": "web", "host": "h", "power": power, "spec": spec, **more})


def running(of: Machine, **more: object) -> Observed:
    process = ProcessSeen(1, "running", of.spec, of.restart_epoch, of.spec.memory_mib)
    return Observed(disks={"d": DiskSeen(10)}, folder=True, seeded=True, process=replace(process, **more))


def test_a_launch_step_by_step() -> None:
    _, names = converge(desired_of(machine()), Observed())
    assert names == ["make-disk", "write-seed", "start", "set-forwards", "resume"]


def test_a_paused_machine_is_let_run_before_it_is_asked_to_shut_down() -> None:
    wanted = machine(Power.STOPPED)
    assert [step.name for step in plan(desired_of(wanted), running(wanted, runstate="paused"))] == [
        "resume",
        "shutdown",
    ]


def test_force_does_not_ask() -> None:
    wanted = machine(Power.STOPPED, stop_timeout_s=0)
    assert [step.name for step in plan(desired_of(wanted), running(wanted))] == ["kill"]


def test_a_restart_is_a_stop_and_a_start() -> None:
    wanted = machine(restart_epoch=1)
    _, names = converge(desired_of(wanted), running(wanted, restart_epoch=0))
    assert names == ["shutdown", "start", "set-forwards", "resume"]


def a_snapshot(**more: object) -> Snapshot:
    return Snapshot(**{"id": "s", "project": "p", "machine": "m", "name": "one", "spec": machine().spec, **more})


def test_a_snapshot_that_is_wanted_with_a_restart_is_taken_at_rest() -> None:
    wanted = machine(restart_epoch=1)
    desired = replace(desired_of(wanted), snapshots=(a_snapshot(state=SnapshotState.MAKING),))
    names = [step.name for step in plan(desired, running(wanted, restart_epoch=0))]
    assert names == ["shutdown", "take-snapshot", "start"]
    assert [step.name for step in plan(desired, replace(running(wanted), process=None))] == ["take-snapshot", "start"]
    stops = replace(desired, machine=machine(Power.STOPPED, restart_epoch=1))
    assert [step.name for step in plan(stops, running(wanted, restart_epoch=0))] == ["take-snapshot", "shutdown"]


def test_a_guest_that_is_to_stand_still_does_so_before_its_snapshot_is_taken() -> None:
    wanted = machine(Power.PAUSED)
    desired = replace(desired_of(wanted), snapshots=(a_snapshot(),))
    assert [step.name for step in plan(desired, running(wanted))] == ["pause", "take-snapshot"]
    assert [step.name for step in plan(desired, running(wanted, runstate="paused"))] == ["take-snapshot"]


def test_a_guest_that_is_hibernated_does_nothing_after_the_moment_that_is_kept() -> None:
    wanted = machine(Power.STOPPED, stop_timeout_s=0, restore="s", restore_epoch=1)
    desired = replace(desired_of(wanted), snapshots=(a_snapshot(memory=True, passing=True),))
    assert [step.name for step in plan(desired, running(wanted))] == ["pause", "take-snapshot", "kill"]
    kept = {"s": SnapshotSeen()}
    assert [step.name for step in plan(desired, replace(running(wanted, runstate="paused"), snapshots=kept))] == [
        "kill"
    ]
    assert plan(desired, replace(running(wanted), process=None, snapshots=kept)) == ()


def test_nothing_is_merged_or_removed_while_somebody_reads() -> None:
    wanted = machine()
    leaving = a_snapshot(state=SnapshotState.DELETING)
    desired = replace(desired_of(wanted), snapshots=(leaving,))
    seen = replace(
        running(wanted, layers={"d": "b"}),
        disks={"d": DiskSeen(10, {"": None, "b": ""})},
        snapshots={"s": SnapshotSeen()},
    )
    disks = tuple(msgspec.structs.replace(disk, layer="b", layers={"b": None}) for disk in desired.disks)
    desired = replace(desired, disks=disks)
    assert [step.name for step in plan(desired, seen)] == ["merge-layer", "remove-snapshot"]
    assert plan(replace(desired, read=True), seen) == ()


def test_more_memory_than_at_boot_waits_for_a_restart() -> None:
    wanted = machine()
    larger = msgspec.structs.replace(wanted, spec=msgspec.structs.replace(wanted.spec, memory_mib=2048))
    seen = running(wanted)
    assert plan(desired_of(larger), seen) == ()
    assert seen.process is not None
    assert waiting_for_restart(larger.spec, seen.process) == ("memory_mib",)


@pytest.mark.parametrize(
    ("runstate", "expected"),
    [
        ("running", ""),
        ("shutdown", Lapse.POWERED_OFF),
        ("internal-error", Lapse.CRASHED),
        ("guest-panicked", Lapse.CRASHED),
        ("io-error", Lapse.STUCK),
        (None, Lapse.CRASHED),
    ],
)
def test_lapses(runstate: str | None, expected: str) -> None:
    wanted = machine(generation=2, observed_generation=2)
    seen = running(wanted, runstate=runstate) if runstate else replace(running(wanted), process=None)
    assert lapse(desired_of(wanted), seen) == expected
    on_the_way = msgspec.structs.replace(wanted, observed_generation=1)
    assert lapse(desired_of(on_the_way), seen) == ""


def test_a_disk_leaves_when_the_guest_has_let_go_of_it() -> None:
    wanted = msgspec.structs.replace(machine(), spec=msgspec.structs.replace(machine().spec, disks=()))
    leaving = Desired(wanted, (), leaving=(Disk(id="d", project="p", name="d", size_mib=10),))
    _, names = converge(leaving, running(machine()))
    assert names == ["unplug-disk", "remove-disk"]


def test_a_disk_that_cannot_be_unplugged_leaves_when_the_process_ends() -> None:
    ide = msgspec.structs.replace(machine().spec, disks=(DiskSpec(disk="d", size_mib=10, bus=Bus.IDE),))
    bare = msgspec.structs.replace(ide, disks=())
    leaving = (Disk(id="d", project="p", name="d", size_mib=10),)
    seen, names = converge(Desired(machine(spec=bare), (), leaving=leaving), running(machine(spec=ide)))
    assert names == []
    _, names = converge(Desired(machine(Power.STOPPED, spec=bare), (), leaving=leaving), seen)
    assert names == ["shutdown", "remove-disk"]


def test_memory_is_settled_when_nothing_else_is_to_be_done() -> None:
    wanted = machine()
    shots = tuple(
        Snapshot(id=id, project="p", machine="m", name=id, state=state, settle=settle, spec=wanted.spec)
        for id, state, settle in (
            ("making", SnapshotState.MAKING, True),
            ("going", SnapshotState.DELETING, True),
            ("given-up", SnapshotState.READY, False),
            ("done", SnapshotState.READY, True),
            ("gone", SnapshotState.READY, True),
            ("due", SnapshotState.READY, True),
        )
    )
    there = {shot.id: SnapshotSeen(unsettled=shot.id != "done") for shot in shots if shot.id != "gone"}
    desired = replace(desired_of(wanted), snapshots=shots)
    seen = replace(running(wanted, runstate="paused"), snapshots=there)
    steps = plan(desired, seen)
    assert [step.name for step in steps] == ["resume", "remove-snapshot", "settle-memory"]
    assert steps[-1] == p.SettleMemory(shots[-1])
    assert plan(desired, seen, settling=False) == steps[:-1]
    # A machine that is to go takes them with it.
    leaving = replace(desired, machine=msgspec.structs.replace(wanted, deleting=Deleting.WITH_DISKS))
    assert "settle-memory" not in [step.name for step in plan(leaving, seen)]


@pytest.mark.parametrize("place", [{"network": "front"}, {"subnet": "s2"}, {"address": "10.0.0.9"}, {"network": ""}])
def test_a_nic_that_moves_is_unplugged_and_plugged(place: dict[str, str]) -> None:
    nic = NicSpec(mac="a", network="back", subnet="s1", address="10.0.0.2")
    was = machine(spec=msgspec.structs.replace(machine().spec, nics=(nic,)))
    moved = msgspec.structs.replace(nic, **place)
    wanted = msgspec.structs.replace(was, spec=msgspec.structs.replace(was.spec, nics=(moved,)))
    steps = plan(desired_of(wanted), replace(running(was), networks={"n": 1}))
    assert steps == (p.UnplugNic(nic), p.PlugNic(moved))
    grouped = msgspec.structs.replace(nic, groups=("web",))
    wanted = msgspec.structs.replace(was, spec=msgspec.structs.replace(was.spec, nics=(grouped,)))
    assert plan(desired_of(wanted), replace(running(was), networks={"n": 1})) == ()


def test_every_step_has_its_row() -> None:
    assert set(STEPS) == set(Step.__subclasses__())
    names = [row.name for row in STEPS.values()]
    assert len(names) == len(set(names))
