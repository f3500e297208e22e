"""Looking from outside how far a guest is, for images that do not report it themselves.

Rules
-----
1. Reachable: the guest agent answers a ping, or an SSH server sends its banner: through a forwarded port, or to who
   asks from within one of its networks, whatever groups say.
2. Configured: cloud-init's `result.json` is there, read through the agent; without an agent, cloud-init's final
   message is on the console. A guest that has neither stays `reachable`.
3. A guest that has reported anything in this boot is no longer looked at: it knows more of itself than its
   files show, and a verdict before its own would be a guess. A fork's has, at its gate.
4. The agent's channel tells when an agent opens it; for the rest there is nothing to wait for, so it is looked
   at again and again, ever more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from guesthouse.formats.outcome import from_console, from_result
from guesthouse.host.agent import Agent, AgentError, read_file
from guesthouse.host.dialling import Target, dial
from guesthouse.host.durable import read_end
from guesthouse.host.machines.folder import Folder
from guesthouse.host.race import first_of
from guesthouse.host.stages import Stages
from guesthouse.model.errors import Conflict, NotFound
from guesthouse.model.machine import Outcome, Stage

_FIRST_PAUSE_S, _SLOWER, _LAST_PAUSE_S = 0.5, 1.3, 20.0
_BANNER_TIMEOUT_S = 5.0
_BANNER = b"SSH-"
_RESULT = "/run/cloud-init/result.json"
_OUTPUT = "/var/log/cloud-init-output.log"
_CONSOLE_END_BYTES = 64 * 1024
_LONGEST_RESULT_BYTES = 1 << 20


@dataclass(frozen=True)
class Looker:
    """What it takes to look at a guest: its agent and whether that is there, and where its SSH server may answer."""

    folder: Folder
    stages: Stages
    agent: Agent
    agent_listens: asyncio.Event
    ssh_servers: Callable[[], Iterable[Target]]

    async def look(self, console_from: int) -> None:
        """Follow one boot to its end. `console_from` is where its part of the console's log begins."""
        if self.stages.stage is Stage.RUNNING:
            await first_of(self._ping(), self._banner())
            if self.stages.stage is Stage.RUNNING:
                self.stages.reach(Stage.REACHABLE)
        async for _ in pauses():
            if self.stages.stage is Stage.CONFIGURED or self.stages.reports:
                return
            if (outcome := await self._outcome(console_from)) is not None:
                self.stages.reach(Stage.CONFIGURED, outcome)

    async def _ping(self) -> None:
        await until_it_answers(self.agent, self.agent_listens)

    async def _banner(self) -> None:
        async for _ in pauses():
            for server in self.ssh_servers():
                if await _sends_banner(server):
                    return

    async def _outcome(self, console_from: int) -> Outcome | None:
        if self.agent_listens.is_set():
            try:
                result = await self._read(_RESULT, _LONGEST_RESULT_BYTES)
                outcome = from_result(result)
                if outcome is not None and not outcome.ok:
                    log = await self._read(_OUTPUT, _LONGEST_RESULT_BYTES)
                    return from_result(result, log.decode(errors="replace"))
                return outcome
            except (Conflict, NotFound, AgentError):
                pass
        return said_on_console(self.folder, console_from)

    async def _read(self, path: str, longest: int) -> bytes:
        data = b""
        async for piece in read_file(self.agent, path):
            data += piece
            if len(data) > longest:
                data = data[-longest:]
        return data


async def until_it_answers(agent: Agent, listens: asyncio.Event) -> None:
    """Wait until a guest agent answers; `listens` is set while one has its channel open."""
    async for _ in pauses():
        await listens.wait()
        with contextlib.suppress(Conflict, AgentError):
            await agent.call("guest-ping")
            return


def console_size(folder: Folder) -> int:
    """Where the console's log ends now."""
    try:
        return folder.console_log.stat().st_size
    except FileNotFoundError:
        return 0


def said_on_console(folder: Folder, start: int) -> Outcome | None:
    """The outcome in what the console's log has from `start` on; in its end where it was shortened since."""
    since = max(0, console_size(folder) - start) if console_size(folder) >= start else _CONSOLE_END_BYTES
    return from_console(read_end(folder.console_log, min(since, _CONSOLE_END_BYTES)).decode(errors="replace"))


async def pauses() -> AsyncIterator[None]:
    """At once, and then ever more rarely: for what no event tells."""
    pause_s = _FIRST_PAUSE_S
    while True:
        yield
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _SLOWER, _LAST_PAUSE_S)


async def _sends_banner(server: Target) -> bool:
    """Whether an SSH server answers (RFC 4253, 4.2). libslirp accepts the connection before the guest does."""
    try:
        async with asyncio.timeout(_BANNER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(sock=await dial(server))
            try:
                return (await reader.readexactly(len(_BANNER))) == _BANNER
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError):
        return False
