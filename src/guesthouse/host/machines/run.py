"""A running QEMU that this daemon holds: its process, its monitor, its guest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from guesthouse.host.agent import Agent, AgentError
from guesthouse.host.dialling import Target
from guesthouse.host.machines.folder import Folder, Record
from guesthouse.host.machines.process import Process
from guesthouse.host.machines.qmp import Monitor
from guesthouse.host.machines.screenshot import Screen
from guesthouse.host.network_ports import LOOPBACK
from guesthouse.host.probe import Looker, console_size, pauses, said_on_console
from guesthouse.host.race import first_of
from guesthouse.host.stages import Kept, Stages, read_reports
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Stage
from guesthouse.qemu.messages import STATUS, Command

_LOG = logging.getLogger(__name__)
_CHANNELS = Command("query-chardev")
_SSH = 22


class Run:
    """One QEMU from its start, or its adoption, to its end. `tell` is called when something happened in it.

    `addresses` tells where on networks it is to be found, by the port that is asked for.
    """

    def __init__(
        self,
        folder: Folder,
        process: Process,
        monitor: Monitor,
        record: Record,
        tell: Callable[[], None],
        addresses: Callable[[int], Iterable[Target]],
    ) -> None:
        self.folder = folder
        self.process = process
        self.monitor = monitor
        self.record = record
        self.screen = Screen(monitor)
        self.agent = Agent(folder)
        self.agent_listens = asyncio.Event()
        self.stages = Stages(folder, record.started_at, tell)
        self._tell = tell
        self._addresses = addresses
        self._executes = asyncio.Event()
        self._console_from = record.console_from

    @property
    def ssh_port(self) -> int:
        """The host's port that leads to the guest's SSH server, 0 where none does."""
        forwards = (forward for row in self.record.forwards.values() for forward in row)
        return next((f.host_port for f in forwards if f.guest_port == _SSH and f.protocol == "tcp"), 0)

    @property
    def ssh_servers(self) -> list[Target]:
        """Where its SSH server would answer us."""
        forwarded = [Target(None, LOOPBACK, self.ssh_port)] if self.ssh_port else []
        return [*forwarded, *self._addresses(_SSH)]

    @property
    def kept(self) -> Kept:
        """How far the guest is, for who goes on from this moment: also what only its console has told, and once."""
        kept = self.stages.kept
        if kept.stage is Stage.CONFIGURED or kept.reports or self.agent_listens.is_set():
            return kept
        outcome = said_on_console(self.folder, self._console_from)
        return kept if outcome is None else msgspec.structs.replace(kept, stage=Stage.CONFIGURED, outcome=outcome)

    def remember(self, record: Record) -> None:
        """Replace the record, on the disk first."""
        self.folder.write_record(record)
        self.record = record

    async def look_around(self) -> None:
        """Learn what no event will tell again: whether the vCPUs run, and whether an agent listens."""
        if (await self.monitor.execute(STATUS))["running"]:
            self._executes.set()
        for channel in await self.monitor.execute(_CHANNELS):
            if channel["label"] == "agent" and channel["frontend-open"]:
                self.agent_listens.set()

    async def keep(self) -> None:
        """Take up what the machine tells, until its process ends; the process does not end with us."""
        try:
            await first_of(self.process.ended.wait(), self._events(), self._guest())
            await self.process.ended.wait()
        finally:
            self.agent.close()
            await self.monitor.close()
            self.screen.close()
            self.process.forget()
            self._tell()

    async def _events(self) -> None:
        async for event in self.monitor.events():
            name, data = event["event"], event.get("data", {})
            if (take := _EVENTS.get(name)) is not None:
                take(self, data)
            if name in _NEWS:
                self._tell()

    async def _guest(self) -> None:
        """What comes from the guest. It is hostile: a mistake of ours here must not reach other machines."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(read_reports(self.folder, self.stages))
                tasks.create_task(self._boots())
                tasks.create_task(self._catch_up())
        except* Exception:
            _LOG.exception("machine %s: no longer watching how far it is", self.folder.machine)
        await self.process.ended.wait()

    async def _boots(self) -> None:
        looker = Looker(self.folder, self.stages, self.agent, self.agent_listens, lambda: self.ssh_servers)
        while True:
            self.stages.rebooted.clear()
            await self._executes.wait()
            # A fork's agent has answered since before the gate, and who has a gate reports by himself.
            # One that has no name yet would answer for another machine.
            silent = self.record.forked or self.record.nameless
            if self.stages.stage is not Stage.CONFIGURED and not silent:
                await first_of(looker.look(self._console_from), self.stages.rebooted.wait())
            await self.stages.rebooted.wait()

    async def _catch_up(self) -> None:
        """Set the guest's clock where that stands at the time of a snapshot, once it runs and its agent listens."""
        async for _ in pauses():
            if not self.record.late:
                return
            await self._executes.wait()
            await self.agent_listens.wait()
            try:
                await self.agent.call("guest-set-time", {"time": time.time_ns()})
            except AgentError as error:
                _LOG.warning("machine %s: its clock is late since its revert: %s", self.folder.machine, error)
            except Conflict:
                continue
            self.remember(msgspec.structs.replace(self.record, late=False))

    def _resumed(self, data: dict[str, Any]) -> None:
        self._executes.set()

    def _stopped(self, data: dict[str, Any]) -> None:
        self._executes.clear()

    def _reset(self, data: dict[str, Any]) -> None:
        self._console_from = console_size(self.folder)
        self._agent_left()
        self.stages.reboot()

    def _channel(self, data: dict[str, Any]) -> None:
        if data["id"] != "agent-channel":
            return
        if data["open"]:
            self.agent_listens.set()
        else:
            self._agent_left()

    def _agent_left(self) -> None:
        """Nobody will answer any more: who waits for an answer is told so."""
        self.agent_listens.clear()
        self.agent.close()


_EVENTS: dict[str, Callable[[Run, dict[str, Any]], None]] = {
    "RESUME": Run._resumed,
    "STOP": Run._stopped,
    "RESET": Run._reset,
    "VSERPORT_CHANGE": Run._channel,
}
_NEWS = frozenset(
    "RESUME STOP RESET SHUTDOWN GUEST_PANICKED BLOCK_IO_ERROR DEVICE_DELETED DEVICE_UNPLUG_GUEST_ERROR".split()
)
