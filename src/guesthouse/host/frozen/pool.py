"""Frozen memory kept ready for forks and reverts, within a budget.

Rules
-----
1. The memory of a template or a snapshot is read once, holes left out, into a memory file that is sealed against
   writing; every QEMU that goes on from it maps that one. It lives as long as this daemon keeps it or a QEMU uses it.
2. What was used last is kept; what would go beyond the budget is let go of, the longest unused first. A daemon that
   begins reads ahead as much as fits, templates first, so that the first fork is as fast as the second. A snapshot's
   memory is read as soon as it is settled (`ahead`): the first revert finds it.
3. What lies in no file is held until it is dropped, whatever else has to go for that (`hold`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.folder import TemplateFolder
from guesthouse.host.frozen.memory import memory_file, seal
from guesthouse.host.snapshots.folder import SnapshotFolder
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.house import House
from guesthouse.model.resources import Template
from guesthouse.qemu.frozen import match
from guesthouse.qemu.placed import Placed

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frozen:
    """Descriptors of what a QEMU goes on from; `memory` is None where that is in the state, as in a snapshot at first.

    `devices` are those of a fork's tree that the template had.
    """

    state: int
    memory: int | None = None
    devices: frozenset[str] = frozenset()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that QEMU is to inherit."""
        return (self.state,) if self.memory is None else (self.state, self.memory)

    def close(self) -> None:
        """QEMU has them, or will not; the pool keeps the memory by a descriptor of its own."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Pool:
    """Memory of templates and snapshots, by id. `box` is what can restore here."""

    def __init__(self, house: House, box: ThisBox, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._house = house
        self._box = box
        self._kept: OrderedDict[str, int] = OrderedDict()
        self._held: dict[str, int] = {}
        self._reading = asyncio.Lock()

    async def take(self, template: Template, placed: Placed) -> Frozen | None:
        """What a fork with that tree needs, to be closed after it; None when the template does not fit it.

        Raises `Failed` when the template is damaged, `Conflict` when it was frozen by another QEMU or processor.
        """
        folder = TemplateFolder(self._house.templates / template.id)
        facts = folder.read_facts()
        devices = match(placed, facts.placed)
        if devices is None:
            return None
        if (now := await self._box.fingerprint()) != facts.by:
            raise Conflict(
                f"template {template.name} was frozen by {facts.by}; here is {now}",
                hint="`guest template create` makes it anew",
            )
        return replace(await self.open(template.id, folder.memory, folder.state), devices=devices)

    async def open(self, id: str, memory: Path, state: Path) -> Frozen:
        """What a QEMU needs to go on from a memory in a file and its state, to be closed after it."""
        sealed = os.dup(await self._memory(id, memory))
        os.utime(memory.parent)
        try:
            return Frozen(os.open(state, os.O_RDONLY | os.O_CLOEXEC), sealed)
        except BaseException:
            os.close(sealed)
            raise

    async def ahead(self, id: str, memory: Path) -> None:
        """Read a memory before anybody asks for it, if it fits into the budget."""
        if _taken(memory.stat()) <= self.budget_bytes:
            await self._memory(id, memory)

    async def warm(self) -> None:
        """Read what fits into the budget; what was used last stays longest."""
        for memory in reversed(self._fitting()):
            id = memory.parent.name
            try:
                await self._memory(id, memory)
            except OSError as error:
                _LOG.warning("%s cannot be kept ready: %s", memory, error)
            if not memory.exists():  # it was deleted meanwhile
                self.drop(id)

    def _fitting(self) -> list[Path]:
        """The memory that fits into the budget together: of templates, then of snapshots, what was used last first."""
        templates = [TemplateFolder(path).memory for path in self._house.templates.glob("[!.]*")]
        snapshots = [SnapshotFolder(path) for path in self._house.snapshots.glob("[!.]*")]
        settled = [folder.memory for folder in snapshots if _is_settled(folder)]
        fitting, room = [], self.budget_bytes
        for _, size, memory in (*_last_first(templates), *_last_first(settled)):
            if size <= room:
                fitting.append(memory)
                room -= size
        return fitting

    def has_room(self, bytes_more: int) -> bool:
        """Whether so much more may be held."""
        return sum(_used(self._held).values()) + bytes_more <= self.budget_bytes

    def hold(self, id: str, memory: int) -> None:
        """Take over a sealed memory that lies in no file, and keep it until it is dropped."""
        self._held[id] = memory
        self._shrink()

    def holds(self, id: str) -> bool:
        """Whether it was taken over."""
        return id in self._held

    def drop(self, id: str) -> None:
        """Let go of a memory; those that have it keep it."""
        for memories in (self._kept, self._held):
            if (descriptor := memories.pop(id, None)) is not None:
                os.close(descriptor)

    def close(self) -> None:
        for id in (*self._kept, *self._held):
            self.drop(id)

    async def _memory(self, id: str, memory: Path) -> int:
        if id in self._held:
            return self._held[id]
        if id not in self._kept:
            async with self._reading:
                if id not in self._kept:
                    self._kept[id] = await _copied(memory, id)
        # Nobody waits here from the moment it is seen to be kept until the caller has it.
        self._kept.move_to_end(id)
        self._shrink()
        return self._kept[id]

    def _shrink(self) -> None:
        """Keep to the budget, but for the one used last."""
        used, held_bytes = _used(self._kept), sum(_used(self._held).values())
        for id in list(self._kept)[:-1]:
            if sum(used.values()) + held_bytes <= self.budget_bytes:
                return
            used.pop(id)
            self.drop(id)


async def _copied(source: Path, name: str) -> int:
    """`sealed_copy` in a thread. That cannot be stopped: whoever is cancelled waits, or its memory would be lost."""
    copying = asyncio.create_task(asyncio.to_thread(sealed_copy, source, name))
    try:
        return await asyncio.shield(copying)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            os.close(await copying)
        raise


def sealed_copy(source: Path, name: str) -> int:
    """A memory file with the content of a file, without its holes; nobody can write to it ever after."""
    size = source.stat().st_size
    copy = memory_file(name, size)
    try:
        with source.open("rb", buffering=0) as file:
            at = 0
            while (at := _next_data(file.fileno(), at)) < size:
                end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                os.lseek(copy, at, os.SEEK_SET)
                while at < end:
                    at += os.sendfile(copy, file.fileno(), at, end - at)
        seal(copy)
    except BaseException:
        os.close(copy)
        raise
    return copy


def _used(memories: Mapping[str, int]) -> dict[str, int]:
    """What memory files take up, in bytes, by id."""
    return {id: _taken(os.fstat(descriptor)) for id, descriptor in memories.items()}


def _last_first(memories: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """When each was used, what it takes up, and which it is."""
    found: list[tuple[float, int, Path]] = []
    for memory in memories:
        try:
            found.append((memory.parent.stat().st_mtime, _taken(memory.stat()), memory))
        except OSError as error:
            _LOG.warning("%s cannot be kept ready: %s", memory, error)
    return sorted(found, reverse=True)


def _is_settled(folder: SnapshotFolder) -> bool:
    try:
        return folder.read_facts().settled
    except Failed as error:
        _LOG.warning("%s", error)
        return False


def _taken(facts: os.stat_result) -> int:
    """What a file takes up, in bytes: holes take nothing."""
    return facts.st_blocks * 512


def _next_data(descriptor: int, at: int) -> int:
    try:
        return os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return os.fstat(descriptor).st_size
        raise
