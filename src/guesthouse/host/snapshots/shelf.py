"""Snapshots as folders of this house: which there are, and how one comes and goes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guesthouse.decide.observed import SnapshotSeen
from guesthouse.host.durable import sync_folder, write_whole
from guesthouse.host.snapshots.folder import Facts, SnapshotFolder
from guesthouse.model.errors import Failed
from guesthouse.model.house import House
from guesthouse.model.resources import Snapshot


@dataclass(frozen=True)
class SnapshotShelf:
    """The snapshots of a house. Streams of up to `settles_bytes` are worth settling: their memory can be kept ready."""

    house: House
    settles_bytes: int = 0

    def folder(self, snapshot: str) -> SnapshotFolder:
        """The folder of a snapshot by its id."""
        return SnapshotFolder(self.house.snapshots / snapshot)

    def see(self, snapshots: Iterable[Snapshot]) -> dict[str, SnapshotSeen]:
        """Those that are there, by id. A damaged one is there: using it fails."""
        return {snapshot.id: self._see(snapshot.id) for snapshot in snapshots if self.folder(snapshot.id).path.is_dir()}

    @contextlib.contextmanager
    def in_making(self, snapshot: Snapshot) -> Iterator[SnapshotFolder]:
        """A folder for what is not yet whole, given its own name by `keep`; what is left at the end goes away."""
        partial = SnapshotFolder(self._partial(snapshot.id))
        shutil.rmtree(partial.path, ignore_errors=True)
        partial.path.mkdir(mode=0o700)
        try:
            yield partial
        finally:
            shutil.rmtree(partial.path, ignore_errors=True)

    def keep(self, partial: SnapshotFolder, snapshot: Snapshot, facts: Facts) -> None:
        """Make it durable, and give it its name."""
        self.sync(partial)
        write_whole(partial.facts, msgspec.json.encode(facts))
        partial.path.rename(self.folder(snapshot.id).path)
        sync_folder(self.house.snapshots)

    def sync(self, partial: SnapshotFolder) -> None:
        """Make the content of its files durable."""
        for path in (partial.state, partial.variables, partial.memory, partial.devices):
            with contextlib.suppress(FileNotFoundError):
                _sync(path)

    def move_memory(self, partial: SnapshotFolder, snapshot: Snapshot) -> None:
        """Give settled memory its place beside the stream, which still holds."""
        folder = self.folder(snapshot.id)
        partial.memory.replace(folder.memory)
        partial.devices.replace(folder.devices)
        sync_folder(folder.path)

    def call_settled(self, snapshot: Snapshot) -> None:
        """From now on the settled memory holds."""
        folder = self.folder(snapshot.id)
        devices_bytes = folder.devices.stat().st_size
        memory_bytes = folder.memory.stat().st_blocks * 512 + devices_bytes
        facts = msgspec.structs.replace(folder.read_facts(), memory_bytes=memory_bytes, devices_bytes=devices_bytes)
        write_whole(folder.facts, msgspec.json.encode(facts))

    def remove(self, snapshot: str) -> None:
        """Remove one: first it is no more, then its files go."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._partial(snapshot), ignore_errors=True)
            self.folder(snapshot).path.rename(self._partial(snapshot))
            sync_folder(self.house.snapshots)
        shutil.rmtree(self._partial(snapshot), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed daemon had begun to make or to remove."""
        for partial in self.house.snapshots.glob(".*.partial"):
            shutil.rmtree(partial, ignore_errors=True)

    def _partial(self, snapshot: str) -> Path:
        return self.house.snapshots / f".{snapshot}.partial"

    def _see(self, snapshot: str) -> SnapshotSeen:
        folder = self.folder(snapshot)
        try:
            facts = folder.read_facts()
        except Failed:
            return SnapshotSeen()
        unsettled = folder.state.exists() and (facts.settled or facts.memory_bytes <= self.settles_bytes)
        return SnapshotSeen(pause_ms=facts.pause_ms, memory_bytes=facts.memory_bytes, unsettled=unsettled)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
