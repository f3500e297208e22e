"""Forks as records: what a fork's disk begins with, what is kept for it, and what it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.decide.test_layers import ACTIONS, Model, a_disk

from guesthouse.decide.forks import forked_disk, forked_spec, handed_on, keeps_address, lineage, unshared, waits
from guesthouse.decide.layers import DEEPEST, downward, layers_of, pruned, upkeep_of, with_layer
from guesthouse.decide.observed import Desired, DiskSeen, Observed, ProcessSeen
from guesthouse.decide.plan import plan
from guesthouse.decide.steps import GiveIdentity, MergeLayer, RemoveLayer, Resume, ShareLayers, Step, TakeSnapshot
from guesthouse.model.machine import DiskFormat, DiskSpec, Forward, Machine, MachineSpec, NicModel, NicSpec, Power
from guesthouse.model.resources import Disk, Held, Snapshot, SnapshotState

MAC = "52:54:00:00:00:01"
SOURCE = Disk(id="d", project="p", name="web-data", size_mib=8, layer="c", layers={"": None, "b": "", "c": "b"})
FORKED = forked_disk(SOURCE, Held(layer="b", size_mib=4), "e", "x", "n", "web-1-data")
SPEC = MachineSpec(
    name="web",
    disks=(DiskSpec(name="data", disk="d", size_mib=8),),
    nics=(NicSpec(mac=MAC, forwards=(Forward(guest_port=22, host_port=2222),)),),
)
SNAPSHOT = Snapshot(
    id="s",
    project="p",
    machine="m",
    name="fork",
    passing=True,
    memory=True,
    state=SnapshotState.READY,
    spec=SPEC,
    disks={"d": Held(layer="b", size_mib=4)},
)
OWN = msgspec.structs.replace(forked_spec(SPEC, "web-1", {"d": "e"}), nics=(NicSpec(mac="52:54:00:00:00:02"),))
FORK = Machine(id="n", project="p", name="web-1", host="h", origin="m", restore="s", spec=OWN, power=Power.RUNNING)
DESIRED = Desired(FORK, (FORKED,), source=SNAPSHOT)


def process(**changes: object) -> ProcessSeen:
    return replace(ProcessSeen(1, "running", OWN, 0, 512, layers={"e": "x"}), **changes)


def test_a_forks_disk_has_what_lies_under_it_and_a_layer_of_its_own() -> None:
    assert FORKED.layers == {"": None, "b": "", "x": "b"}
    assert (FORKED.layer, FORKED.origin, FORKED.size_mib, FORKED.machine) == ("x", "d", 4, "n")
    assert FORKED.shared == ("b", "")


def test_a_fork_is_described_by_what_is_its_own() -> None:
    spec = forked_spec(SPEC, "web-1", {"d": "e"})
    assert (spec.name, spec.disks[0].disk) == ("web-1", "e")
    assert spec.nics == (NicSpec(forwards=(Forward(guest_port=22),)),)


def test_what_was_whose() -> None:
    came = lineage(DESIRED)
    assert came == ({"d": "e"}, {MAC: "52:54:00:00:00:02"})
    had = handed_on(SPEC, came, "web-1")
    assert (had.name, had.disks[0].disk, had.nics) == ("web-1", "e", (NicSpec(mac="52:54:00:00:00:02"),))


@pytest.mark.parametrize(
    ("disk", "held", "expected"),
    [
        (FORKED, set(), {"": None, "b": "", "x": "b"}),
        (msgspec.structs.replace(FORKED, shared=("",)), set(), {"": None, "x": ""}),
        (msgspec.structs.replace(FORKED, shared=()), set(), {"x": None}),
        (msgspec.structs.replace(FORKED, shared=("b",), layer="y", layers={"b": None, "y": None}), set(), {"y": None}),
        (
            msgspec.structs.replace(
                FORKED, layers={"": None, "a": "", "b": "a", "c": "b", "x": "c"}, shared=("", "a", "b", "c")
            ),
            set(),
            {"x": None},
        ),
        (
            msgspec.structs.replace(
                FORKED,
                format=DiskFormat.RAW,
                layers={"": None, "a": "", "b": "a", "c": "b", "x": "c"},
                shared=("", "a", "b", "c"),
            ),
            {"a"},
            {"": None, "a": "", "x": ""},
        ),
    ],
)  # fmt: skip
def test_what_is_shared_is_kept_while_something_stands_on_it(
    disk: Disk, held: set[str], expected: dict[str, str | None]
) -> None:
    assert pruned(disk, held) == expected


def test_nothing_is_merged_into_what_others_have() -> None:
    disk = msgspec.structs.replace(FORKED, layers={"b": None, "x": "b"})
    seen = DiskSeen(4, {"": None, "b": "", "x": "b"}, frozenset({"", "b"}))
    assert list(upkeep_of(disk, seen, "x")) == []
    assert list(upkeep_of(disk, replace(seen, shared=frozenset()), "x")) == [MergeLayer(disk, "b")]
    alone = msgspec.structs.replace(FORKED, layers={"x": None})
    assert list(upkeep_of(alone, seen, "x")) == [MergeLayer(alone, "x")]
    merged = DiskSeen(4, {"": None, "b": "", "x": None}, frozenset({"", "b"}))
    assert list(upkeep_of(alone, merged, "x")) == [RemoveLayer(alone, "b")]


def test_what_is_no_longer_shared_is_said_no_more() -> None:
    assert unshared(FORKED, DiskSeen(4, {"": None, "b": ""}, frozenset({""}))) == ("",)
    assert unshared(FORKED, None) == ("b", "")


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        (DESIRED, Observed(), True),
        (DESIRED, Observed(disks={"e": DiskSeen(4, {"": None})}), True),
        (DESIRED, Observed(disks={"e": DiskSeen(4, {"": None, "b": ""})}), False),
        (DESIRED, Observed(disks={"e": DiskSeen(4, {"x": None})}), False),
        (replace(DESIRED, source=None), Observed(disks={"e": DiskSeen(4, {"x": None})}), True),
        (
            replace(DESIRED, source=msgspec.structs.replace(SNAPSHOT, state=SnapshotState.MAKING)),
            Observed(disks={"e": DiskSeen(4, {"b": None})}),
            True,
        ),
        (replace(DESIRED, source=None), Observed(process=process()), False),
        (
            replace(DESIRED, source=None, machine=msgspec.structs.replace(FORK, restore="")),
            Observed(disks={"e": DiskSeen(4, {"b": None})}),
            False,
        ),
    ],
)
def test_a_fork_waits_for_what_it_begins_with(desired: Desired, observed: Observed, expected: bool) -> None:
    assert waits(desired, observed) is expected


def test_the_machine_shares_once_the_snapshot_is_there() -> None:
    making = msgspec.structs.replace(SNAPSHOT, state=SnapshotState.MAKING)
    machine = Machine(id="m", project="p", name="web", host="h", spec=SPEC)
    desired = Desired(machine, (SOURCE,), snapshots=(making,), forks=(FORKED,))
    seen = {"d": DiskSeen(8, {"": None, "b": "", "c": "b"})}
    assert plan(desired, Observed(disks=seen))[:2] == (TakeSnapshot(making), ShareLayers(FORKED))
    there = {**seen, "e": DiskSeen(4, {"": None, "b": ""})}
    assert ShareLayers(FORKED) not in plan(desired, Observed(disks=there))


@pytest.mark.parametrize(
    ("runstate", "power", "expected"),
    [
        ("paused", Power.RUNNING, (Resume(), GiveIdentity())),
        ("running", Power.RUNNING, (GiveIdentity(),)),
        ("paused", Power.PAUSED, ()),
    ],
)
def test_a_guest_gets_its_name_when_it_runs(runstate: str, power: Power, expected: tuple[object, ...]) -> None:
    desired = replace(DESIRED, machine=msgspec.structs.replace(FORK, power=power))
    there = {"e": DiskSeen(4, {"": None, "b": "", "x": "b"}, frozenset({"", "b"}))}
    observed = Observed(there, folder=True, seeded=True, process=process(runstate=runstate, nameless=True))
    assert plan(desired, observed) == expected


def test_whose_address_stays() -> None:
    assert keeps_address(SPEC) == ""
    both = (NicSpec(mac=MAC), NicSpec(mac="52:54:00:00:00:09", model=NicModel.E1000))
    assert keeps_address(MachineSpec(name="web", nics=both)) == "52:54:00:00:00:09"


@dataclass
class Member(Model):
    """A disk of a family: members may have files in common, which nobody may change."""

    family: list[Member] = field(default_factory=list)

    @classmethod
    def first(cls, format: DiskFormat) -> Member:
        member = cls(a_disk(format=format))
        member.family = [member]
        return member

    def fork(self) -> None:
        """As the engine and the source's host do it: the source goes on in a layer of its own, too."""
        top, before = self.disk.layer, self.disk
        id = f"{self.disk.id}.{self.made}"
        disk = forked_disk(before, Held(layer=top, size_mib=1), id, f"{id}-0", "n", id)
        under = {name: below for name, (below, _) in self.files.items()}
        files = {each: self.files[each] for each in downward(under, top)}
        files[disk.layer] = (top, {})
        self.branch(top)
        shared = tuple(dict.fromkeys((*before.shared, *downward(layers_of(before), top))))
        self.disk = msgspec.structs.replace(self.disk, shared=shared)
        member = Member(disk, files, present=dict(self.present), family=self.family)
        self.family.append(member)

    def branch(self, under: str) -> None:
        self.made += 1
        layer = f"{self.disk.id}-{self.made}"
        self.disk = msgspec.structs.replace(self.disk, **with_layer(self.disk, layer, under))
        self.files[layer] = (under, {})

    def write(self, block: int, value: int) -> None:
        assert self.disk.layer not in self.common()
        super().write(block, value)

    def common(self) -> frozenset[str]:
        others = [member for member in self.family if member is not self]
        return frozenset(layer for layer in self.files if any(layer in other.files for other in others))

    def seen(self) -> DiskSeen:
        return replace(super().seen(), shared=self.common())

    def perform(self, step: Step) -> None:
        assert not isinstance(step, MergeLayer) or step.layer not in self.common()
        super().perform(step)

    def tidy(self, steps: int) -> None:
        self.disk = msgspec.structs.replace(self.disk, shared=unshared(self.disk, self.seen()))
        super().tidy(steps)

    def check(self) -> None:
        for member in self.family:
            Model.check(member)


FAMILY_ACTIONS = st.one_of(ACTIONS, st.tuples(st.just("fork")), st.tuples(st.just("die")))


@given(st.sampled_from(DiskFormat), st.lists(st.tuples(st.integers(0, 9), FAMILY_ACTIONS), max_size=40))
def test_everybody_in_a_family_reads_what_was_written(format: DiskFormat, actions: list[tuple[int, tuple]]) -> None:
    family = Member.first(format).family
    for who, (name, *words) in actions:
        member = family[who % len(family)]
        if name != "die":
            getattr(member, name)(*words)
        elif len(family) > 1:
            family.remove(member)
        family[0].check()
    for member in family:
        member.tidy(1000)
        assert len(list(downward(layers_of(member.disk), member.disk.layer))) <= DEEPEST + 1
    while len(family) > 1:
        family.pop()
    (last,) = family
    last.tidy(1000)
    assert last.seen().layers == layers_of(last.disk)
    assert last.disk.shared == ()
