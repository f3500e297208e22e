"""Layers of disks: whatever is taken, reverted to and deleted, all read what was written, and chains stay short."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.decide.layers import DEEPEST, downward, layers_of, pruned, upkeep_of, with_layer
from guesthouse.decide.observed import DiskSeen
from guesthouse.decide.steps import MergeLayer, RemoveLayer, Step
from guesthouse.model.machine import DiskFormat
from guesthouse.model.resources import Disk

Content = dict[int, int]


def a_disk(layer: str = "", layers: dict[str, str | None] | None = None, format: DiskFormat = DiskFormat.QCOW2) -> Disk:
    return Disk(id="d", project="p", name="data", size_mib=1, format=format, layer=layer, layers=layers or {})


@pytest.mark.parametrize(
    ("disk", "held", "expected"),
    [
        (a_disk(), {""}, {"": None}),
        (a_disk("b", {"": None, "b": ""}), {""}, {"": None, "b": ""}),
        (a_disk("b", {"": None, "b": ""}), set(), {"b": None}),
        (a_disk("b", {"": None, "b": ""}, DiskFormat.RAW), set(), {"": None, "b": ""}),
        (a_disk("c", {"": None, "b": "", "c": ""}), {"b"}, {"": None, "b": "", "c": ""}),
        (a_disk("c", {"": None, "b": "", "c": ""}), {""}, {"": None, "c": ""}),
        (a_disk("d", {"": None, "b": "", "c": "b", "d": "c"}), {"c"}, {"c": None, "d": "c"}),
        (
            a_disk("e", {"": None, "b": "", "c": "b", "d": "c", "e": "d"}),
            {"", "b", "c", "d"},
            {"": None, "b": "", "c": "b", "d": "c", "e": None},
        ),
    ],
)
def test_what_nobody_needs_is_left_out(disk: Disk, held: set[str], expected: dict[str, str | None]) -> None:
    assert pruned(disk, held) == expected


def test_what_a_process_uses_is_not_removed() -> None:
    disk = a_disk("c", {"": None, "c": ""})
    seen = DiskSeen(1, {"": None, "b": "", "c": ""})
    assert list(upkeep_of(disk, seen, "b")) == []
    assert list(upkeep_of(disk, seen, "c")) == [RemoveLayer(disk, "b")]


def test_merges_come_before_removals_and_those_from_the_top() -> None:
    disk = a_disk("d", {"d": None})
    seen = DiskSeen(1, {"": None, "b": "", "c": "b", "d": "c"})
    assert list(upkeep_of(disk, seen, "d")) == [MergeLayer(disk, "d")]
    merged = DiskSeen(1, {"": None, "b": "", "c": "b", "d": None})
    assert list(upkeep_of(disk, merged, "d")) == [RemoveLayer(disk, "c")]


@dataclass
class Model:
    """A disk's record and files, and beside them what everybody should read."""

    disk: Disk
    files: dict[str, tuple[str | None, Content]] = field(default_factory=lambda: {"": (None, {})})
    held: dict[int, str] = field(default_factory=dict)
    present: Content = field(default_factory=dict)
    kept: dict[int, Content] = field(default_factory=dict)
    made: int = 0

    def read(self, layer: str) -> Content:
        found: Content = {}
        for each in reversed(list(downward({name: under for name, (under, _) in self.files.items()}, layer))):
            found |= self.files[each][1]
        return found

    def write(self, block: int, value: int) -> None:
        self.files[self.disk.layer][1][block] = value
        self.present[block] = value

    def branch(self, under: str) -> None:
        self.made += 1
        self.disk = msgspec.structs.replace(self.disk, **with_layer(self.disk, f"n{self.made}", under))
        self.files[self.disk.layer] = (under, {})

    def take(self) -> None:
        number = self.made
        self.held[number], self.kept[number] = self.disk.layer, dict(self.present)
        self.branch(self.disk.layer)

    def revert(self, choice: int) -> None:
        if self.held:
            number = sorted(self.held)[choice % len(self.held)]
            self.present = dict(self.kept[number])
            self.branch(self.held[number])

    def delete(self, choice: int) -> None:
        if self.held:
            number = sorted(self.held)[choice % len(self.held)]
            del self.held[number], self.kept[number]

    def seen(self) -> DiskSeen:
        return DiskSeen(1, {name: under for name, (under, _) in self.files.items()})

    def perform(self, step: Step) -> None:
        """As a host would: a layer takes in what lies between it and the one wanted under it."""
        under = {name: below for name, (below, _) in self.files.items()}
        if isinstance(step, MergeLayer):
            wanted = layers_of(self.disk)[step.layer]
            content: Content = {}
            between = []
            for each in downward(under, step.layer):
                if each == wanted:
                    break
                between.append(each)
            for each in reversed(between):
                content |= self.files[each][1]
            self.files[step.layer] = (wanted, content)
        else:
            assert isinstance(step, RemoveLayer)
            assert step.layer not in under.values()
            del self.files[step.layer]

    def tidy(self, steps: int) -> None:
        """Want what is needed alone, and come at most so many steps nearer to it: then the daemon is killed."""
        self.disk = msgspec.structs.replace(self.disk, layers=dict(pruned(self.disk, set(self.held.values()))))
        for _ in range(steps):
            step = next(upkeep_of(self.disk, self.seen(), self.disk.layer), None)
            if step is None:
                return
            self.perform(step)
            self.check()

    def check(self) -> None:
        assert self.read(self.disk.layer) == self.present
        for number, layer in self.held.items():
            assert self.read(layer) == self.kept[number]


ACTIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3), st.integers(1, 9)),
    st.tuples(st.just("take")),
    st.tuples(st.just("revert"), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.integers(0, 9)),
    st.tuples(st.just("tidy"), st.integers(0, 3)),
)


@given(st.sampled_from(DiskFormat), st.lists(ACTIONS, max_size=40))
def test_everybody_reads_what_was_written(format: DiskFormat, actions: list[tuple]) -> None:
    model = Model(a_disk(format=format))
    for name, *words in actions:
        getattr(model, name)(*words)
        model.check()
    model.tidy(1000)
    layers = layers_of(model.disk)
    assert model.seen().layers == layers
    assert len(list(downward(layers, model.disk.layer))) <= DEEPEST + 1
    needed = {model.disk.layer, *model.held.values()}
    for layer in set(layers) - needed - {""}:
        assert sum(under == layer for under in layers.values()) > 1
