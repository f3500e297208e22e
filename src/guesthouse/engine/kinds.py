"""The kinds of operations: one row each.

Rules
-----
1. An operation on a machine has no steps of its own: it wants a generation, and `decide.plan` leads there. It is
   done when the host has observed that generation.
2. An operation on an image, a template, a disk or a network walks its `steps`; after each one its context is stored,
   so that a daemon that takes it up again goes on from there. Every step is idempotent.
3. What becomes of a failed or cancelled one stands in `undo`: nothing to undo, the former desired state is
   written back, or the subject is removed. The operation ends only after that.
4. What nobody asked for is opened by the step that it begins with (`BY_ITSELF`), and makes way for what somebody asks.
5. A new kind is a new row; the test that kills the daemon at every step of every kind reads this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guesthouse.decide.steps import MergeLayer, SettleMemory, Step


class Undo(StrEnum):
    NOTHING = "nothing"
    RESTORE = "restore"
    REMOVE = "remove"


@dataclass(frozen=True)
class Kind:
    """One kind: its name, the subject it acts on, its phase for people, its undo, and its steps if it has any."""

    name: str
    phase: str
    undo: Undo
    steps: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """``machine``, ``image``, ``template``, ``disk``, ``snapshot`` or ``network``."""
        return self.name.partition(".")[0]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("machine.launch", "launching", Undo.REMOVE),
        Kind("machine.fork", "forking", Undo.RESTORE),
        Kind("machine.start", "starting", Undo.RESTORE),
        Kind("machine.stop", "stopping", Undo.NOTHING),
        Kind("machine.hibernate", "hibernating", Undo.RESTORE),
        Kind("machine.restart", "restarting", Undo.RESTORE),
        Kind("machine.interrupt", "interrupting", Undo.NOTHING),
        Kind("machine.pause", "pausing", Undo.RESTORE),
        Kind("machine.resume", "resuming", Undo.RESTORE),
        Kind("machine.rename", "renaming", Undo.RESTORE),
        Kind("machine.change", "changing", Undo.RESTORE),
        Kind("machine.delete", "deleting", Undo.NOTHING),
        Kind("snapshot.create", "taking a snapshot", Undo.RESTORE),
        Kind("snapshot.revert", "reverting", Undo.RESTORE),
        Kind("snapshot.delete", "deleting", Undo.RESTORE),
        Kind("snapshot.merge", "merging layers", Undo.RESTORE),
        Kind("snapshot.settle", "settling memory", Undo.RESTORE),
        Kind("disk.attach", "attaching", Undo.RESTORE),
        Kind("disk.detach", "detaching", Undo.RESTORE),
        Kind("disk.create", "creating", Undo.REMOVE, ("make",)),
        Kind("disk.resize", "resizing", Undo.RESTORE, ("grow",)),
        Kind("disk.convert", "converting", Undo.RESTORE, ("convert", "switch")),
        Kind("disk.delete", "deleting", Undo.NOTHING, ("remove",)),
        Kind("image.build", "building", Undo.REMOVE, ("build", "publish")),
        Kind("image.import", "importing", Undo.REMOVE, ("fetch", "convert", "publish")),
        Kind("image.pull", "pulling", Undo.REMOVE, ("resolve", "fetch", "convert", "publish")),
        Kind("image.create", "making an image", Undo.REMOVE, ("hold", "copy", "release", "publish")),
        Kind("image.copy", "copying", Undo.REMOVE, ("wait", "link", "publish")),
        Kind("image.prepare", "preparing", Undo.REMOVE, ("boot", "copy", "publish")),
        Kind("image.export", "exporting", Undo.NOTHING, ("check", "export")),
        Kind("image.delete", "deleting", Undo.NOTHING, ("remove",)),
        Kind("template.create", "creating", Undo.REMOVE, ("make",)),
        Kind("template.delete", "deleting", Undo.NOTHING, ("remove",)),
        Kind("network.create", "making a network", Undo.REMOVE, ("apply",)),
        Kind("network.change", "changing a network", Undo.RESTORE, ("apply",)),
        Kind("network.delete", "removing a network", Undo.NOTHING, ("remove",)),
    )
}

BY_ITSELF: dict[type[Step], str] = {MergeLayer: "snapshot.merge", SettleMemory: "snapshot.settle"}
