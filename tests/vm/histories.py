"""A machine that is written to, kept, brought back and killed in any order; and a model that knows what it must hold.

Rules
-----
1. The model holds what every disk and the memory must be now, and what each snapshot must bring back. It knows nothing
   of layers, files and processes.
2. An action is a method of `History` whose name and arguments a test draws; it does the same to the machine and to the
   model. `ACTIONS` is what may be drawn: another way to change a machine is one method and one line.
3. After every action but a write the guest reads all of its disks past its cache, and tells what its memory holds.
4. A history goes on where the last one ended, with the same machine. `at_rest` ends it: without snapshots, and without
   any file that the machine does not need.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
from hypothesis import strategies as st
from tests.patience import PATIENCE_S
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, left_in

from guesthouse.decide.layers import DEEPEST, downward, layers_of
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House
from guesthouse.model.resources import Disk
from guesthouse.ports import Store
from guesthouse.store import open_store

SIZE_MIB, PAGE = 4, 4096
PLACES = (0, 15, 16, 700)  # in pages: within one cluster of an overlay, over its end, far away
LENGTHS = (1, 2, 250)
DEVICES = ("/dev/vda", "/dev/sda")
_SPEC = {
    "name": "web",
    "memory_mib": 128,
    "disks": [
        {"name": "one", "size_mib": SIZE_MIB},
        {"name": "two", "size_mib": SIZE_MIB, "format": "raw", "bus": "scsi"},
    ],
}
_SNAPSHOTS = "/machines/web/snapshots"
_COUNT = "i=0; while sleep 0.1; do i=$((i+1)); echo $i >/run/count.new; mv /run/count.new /run/count; done"
# A boot has an id of the kernel's own, which comes back with its memory alone.
_BEGIN = f"echo >/run/note; (setsid sh -c '{_COUNT}' >/dev/null 2>&1 </dev/null &); cat /proc/sys/kernel/random/boot_id"
_LOOK = f"""echo 3 >/proc/sys/vm/drop_caches
cat /proc/sys/kernel/random/boot_id /run/note
md5sum {" ".join(DEVICES)} | cut -c-32"""
_GOES_ON = "was=$(cat /run/count); until [ $(cat /run/count) -gt $was ]; do sleep 0.02; done"
_KEEPS = ("take", "revert", "delete")
_INDEX = st.integers(0, 9)
# Drawn more often where it stands more often; the first is the least that a history can have.
_KINDS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "write": (
        6,
        (
            st.integers(0, len(DEVICES) - 1),
            st.sampled_from(PLACES),
            st.sampled_from(LENGTHS),
            st.sampled_from((0, 1, 7, 255)),
        ),
    ),
    "remember": (2, (st.integers(1, 99),)),
    "take": (5, (_INDEX,)),
    "revert": (5, (_INDEX,)),
    "delete": (4, (_INDEX,)),
    "fork": (2, (st.integers(0, len(DEVICES) - 1),)),
    "merge": (2, ()),
    "daemon_dies": (1, ()),
    "daemon_dies_at_work": (3, (st.sampled_from(_KEEPS), _INDEX, st.integers(1, 12))),
    "qemu_dies": (1, ()),
}
ACTIONS = st.sampled_from([name for name, (weight, _) in _KINDS.items() for _ in range(weight)]).flatmap(
    lambda name: st.tuples(st.just(name), *_KINDS[name][1])
)
Action = tuple[Any, ...]


class Moment(NamedTuple):
    """What a machine holds: its disks, and of its memory the boot that it belongs to and a note."""

    disks: tuple[bytes, ...]
    boot: str
    note: str


@dataclass
class History:
    """A machine and its model. `say` is told every action, before it is done."""

    house: House
    store: Store
    now: Moment
    say: Callable[[str], None] = print
    kept: dict[str, Moment | tuple[bytes, ...]] = field(default_factory=dict)
    forks: dict[str, Moment] = field(default_factory=dict)
    made: int = 0
    _daemon: Daemon | None = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def play(self, actions: list[Action]) -> None:
        """Do all of that, and look; then come to rest."""
        for name, *words in actions:
            self.say(f"{name} {' '.join(map(str, words))}")
            await getattr(self, name)(*words)
            if name not in ("write", "remember"):
                await self.check()
        await self.check()
        await self.at_rest()

    # --- what may happen --------------------------------------------------------------------------------------

    async def write(self, disk: int, page: int, pages: int, value: int) -> None:
        """Write so many pages of one value to a disk, and flush them."""
        self.now = await self._write("web", self.now, disk, page, pages, value)

    async def remember(self, note: int) -> None:
        """Put a note into memory."""
        await self.shell(f"echo {note} >/run/note")
        self.now = self.now._replace(note=str(note))

    async def take(self, choice: int) -> None:
        """Take a snapshot; every fifth is of the disks alone."""
        await self._done(*self._taking(choice))

    async def revert(self, choice: int) -> None:
        """Go back to a snapshot."""
        if self.kept:
            await self._done(*self._reverting(choice))

    async def delete(self, choice: int) -> None:
        """Delete a snapshot; what is merged for that goes on behind whatever comes next."""
        if self.kept:
            await self._done(*self._deleting(choice))

    async def fork(self, disk: int) -> None:
        """One more machine that holds the same and then something else; of three the first goes."""
        if len(self.forks) == 2:
            await self._unfork(next(iter(self.forks)))
        self.made += 1
        name = f"f{self.made}"
        asked = await self.daemon.ask("POST", "/machines/web/forks", {"name": name})
        forked = await self.daemon.ended(asked["id"])
        begun = await self.daemon.ended(forked["result"]["machines"][0]["operation"])
        assert begun["state"] == "done", begun
        await self._check(name, self.now)
        self.forks[name] = await self._write(name, self.now, disk, PLACES[1], 1, 99)

    async def merge(self) -> None:
        """Wait until nothing is merged any more, and no file is left over."""
        await self.until(self._is_settled)
        for disk in await self._disks():
            assert len(list(downward(layers_of(disk), disk.layer))) <= DEEPEST + 1, disk

    async def daemon_dies(self) -> None:
        """Whatever it is doing: it may be merging."""
        self.daemon.kill()
        await self._next_daemon()

    async def daemon_dies_at_work(self, what: str, choice: int, checkpoints: int) -> None:
        """Ask for something, and kill the daemon on the way there: so many edges of steps later."""
        if what != "take" and not self.kept:
            return
        before = {row["id"] for row in await self._operations("?all=true")}
        self.daemon.die_after(checkpoints)
        request, then = {"take": self._taking, "revert": self._reverting, "delete": self._deleting}[what](choice)
        try:
            await self.daemon.ended((await self.daemon.ask(*request))["id"])
            await self.until(self._is_settled)
            self.daemon.die_after(0)
        except httpx.TransportError:
            await self._next_daemon()
        asked = [row for row in await self._operations("?all=true") if row["id"] not in before]
        (asked,) = [row for row in asked if row["kind"].split(".")[1] in ("create", "revert", "delete")]
        await self._ended(asked["id"], then)

    async def qemu_dies(self) -> None:
        """The machine is started again, and boots."""
        os.kill((await self.machine())["status"]["pid"], signal.SIGKILL)
        await self.until(self._has_crashed)
        await self.daemon.do("POST", "/machines/web/start", {})
        await self._has_booted()

    # --- what is asked, and what it means ---------------------------------------------------------------------

    def _taking(self, choice: int) -> tuple[Any, Callable[[], Any]]:
        self.made += 1
        name, alone = f"s{self.made}", choice % 5 == 4

        async def then() -> None:
            self.kept[name] = self.now.disks if alone else self.now

        return ("POST", _SNAPSHOTS, {"name": name, "disks_only": alone}), then

    def _reverting(self, choice: int) -> tuple[Any, Callable[[], Any]]:
        name = list(self.kept)[choice % len(self.kept)]

        async def then() -> None:
            kept = self.kept[name]
            if isinstance(kept, Moment):
                self.now = kept
            else:
                self.now = self.now._replace(disks=kept)
                await self._has_booted()
            await self.until(self._agent_listens)
            await self.shell(_GOES_ON)

        return ("POST", f"{_SNAPSHOTS}/{name}/revert", {}), then

    def _deleting(self, choice: int) -> tuple[Any, Callable[[], Any]]:
        name = list(self.kept)[choice % len(self.kept)]

        async def then() -> None:
            del self.kept[name]

        return ("DELETE", f"{_SNAPSHOTS}/{name}", None), then

    async def _done(self, request: Any, then: Callable[[], Any]) -> None:
        await self._ended((await self.daemon.ask(*request))["id"], then, may_fail=False)

    async def _ended(self, id: str, then: Callable[[], Any], *, may_fail: bool = True) -> None:
        """Follow an operation to its end; one that was broken off may have been undone where it took a snapshot."""
        operation = await self.daemon.ended(id)
        if operation["state"] == "done":
            await then()
        else:
            assert may_fail and operation["kind"] == "snapshot.create", operation

    async def _write(self, machine: str, held: Moment, disk: int, page: int, pages: int, value: int) -> Moment:
        """What a machine holds when that is written."""
        place = f"bs={PAGE} seek={page} conv=notrunc,fsync iflag=fullblock"
        zeros = f"head -c {pages * PAGE} /dev/zero | tr '\\0' '\\{value:03o}'"
        await self.shell(f"{zeros} | dd of={DEVICES[disk]} {place} 2>/dev/null", machine)
        disks = list(held.disks)
        before, after = disks[disk][: page * PAGE], disks[disk][(page + pages) * PAGE :]
        disks[disk] = before + bytes([value]) * (pages * PAGE) + after
        return held._replace(disks=tuple(disks))

    async def _unfork(self, name: str) -> None:
        """A fork goes; until then it has held what it should."""
        await self._check(name, self.forks.pop(name))
        await self.daemon.do("DELETE", f"/machines/{name}")

    async def _has_booted(self) -> None:
        await self.daemon.reach("web", "configured")
        await self.until(self._agent_listens)
        self.now = self.now._replace(boot=(await self.shell(_BEGIN)).strip(), note="")

    # --- what must be true ------------------------------------------------------------------------------------

    async def check(self) -> None:
        """The guest holds what the model says, and the machine has the snapshots that it should have."""
        await self._check("web", self.now)
        rows = (await self.daemon.ask("GET", _SNAPSHOTS))["items"]
        assert {row["name"]: row["state"] for row in rows} == dict.fromkeys(self.kept, "ready"), rows

    async def _check(self, machine: str, held: Moment) -> None:
        await self.until(lambda: self._agent_listens(machine))
        said = (await self.shell(_LOOK, machine)).split("\n")
        sums = [hashlib.md5(disk, usedforsecurity=False).hexdigest() for disk in held.disks]
        assert said == (should := [held.boot, held.note, *sums, ""]), f"{machine}: {said} is not {should}"

    async def at_rest(self) -> None:
        """Delete all snapshots and forks: one file is left of a disk, and two of a raw one, whose first stays."""
        for name in list(self.forks):
            await self._unfork(name)
        for name in list(self.kept):
            await self.daemon.do("DELETE", f"{_SNAPSHOTS}/{name}")
            del self.kept[name]
        await self.until(self._is_alone)
        await self.check()
        left = left_in(self.house)
        assert left["snapshots"] == []
        assert len(left["processes"]) == 1, left

    async def _is_alone(self) -> bool:
        return await self._is_settled() and len(left_in(self.house)["disks"]) <= len(DEVICES) + 1

    async def _is_settled(self) -> bool:
        if await self._operations():
            return False
        wanted = {
            f"{disk.id}.{layer}.qcow2" if layer else f"{disk.id}.{disk.format.value}"
            for disk in await self._disks()
            for layer in layers_of(disk)
        }
        return wanted == set(left_in(self.house)["disks"])

    async def _has_crashed(self) -> bool:
        return bool((await self.machine())["state"] == "crashed")

    async def _agent_listens(self, machine: str = "web") -> bool:
        """The agent hangs up when a daemon goes, and comes back by itself."""
        answer = await self.daemon.client.post(f"/machines/{machine}/exec", json={"argv": ["true"]})
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200

    # --- the daemon -------------------------------------------------------------------------------------------

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    async def machine(self) -> Any:
        return await self.daemon.ask("GET", "/machines/web")

    async def shell(self, line: str, machine: str = "web") -> str:
        """What a line says in the guest."""
        ended = await self.daemon.ask("POST", f"/machines/{machine}/exec", {"argv": ["sh", "-c", line]})
        assert ended["exit_status"] == 0, ended
        return base64.b64decode(ended["stdout"]).decode()

    async def until(self, reached: Callable[[], Any]) -> None:
        """Wait for something to become true; events tell when to look."""
        seen = 0
        async with asyncio.timeout(PATIENCE_S):
            while not await reached():
                events = (await self.daemon.ask("GET", f"/events?after={seen}"))["items"]
                seen = events[-1]["number"] if events else seen
                await asyncio.sleep(0 if events else 0.1)

    async def begin(self) -> None:
        """A daemon, and the machine."""
        self._daemon = await self._stack.enter_async_context(a_daemon(self.house))
        await self.daemon.do("POST", "/machines", {"spec": _SPEC})
        await self._has_booted()

    async def _next_daemon(self) -> None:
        assert await self.daemon.died() == -signal.SIGKILL
        await self.end()
        self._daemon = await self._stack.enter_async_context(a_daemon(self.house))
        self.daemon.die_after(0)

    async def end(self) -> None:
        await self._stack.aclose()

    async def _operations(self, which: str = "") -> Any:
        return (await self.daemon.ask("GET", f"/operations{which}"))["items"]

    async def _disks(self) -> list[Disk]:
        async with self.store.read() as tx:
            return await tx.disks.select()


@asynccontextmanager
async def a_history(micro_image: BuiltImage) -> AsyncIterator[History]:
    """A machine in a house of its own."""
    async with a_furnished_house(micro_image) as house, open_store(f"sqlite:///{house.database}") as store:
        empty = Moment((bytes(SIZE_MIB << 20),) * len(DEVICES), "", "")
        history = History(house, store, empty)
        try:
            await history.begin()
            yield history
        finally:
            await history.end()
