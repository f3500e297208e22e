"""The guest agent: one conversation a machine, over QEMU's agent socket.

Rules
-----
1. One request at a time; whoever comes second waits.
2. A conversation that was broken off (time-out, cancelled) is made whole by `guest-sync-delimited` before the
   next request: an answer that comes late is never taken for another's.
3. The guest is hostile: its answers are bounded, and what is no answer breaks the conversation off.
4. Running a program can only be asked about, not waited for: the questions become rarer.

Source: QEMU's docs/interop/qemu-ga-ref; guest-sync-delimited on the sentinel byte 0xFF.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from guesthouse.host.machines.folder import Folder
from guesthouse.model.errors import Conflict, Failed, NotFound, TimedOut
from guesthouse.ports import GuestCommand, GuestResult

_SENTINEL = b"\xff"
_LONGEST_ANSWER_BYTES = 32 << 20
_ANSWER_TIMEOUT_S = 60.0
_FIRST_QUESTION_S, _SLOWER, _LAST_QUESTION_S = 0.02, 1.5, 1.0
_CHUNK_BYTES = 128 * 1024


class AgentError(Failed):
    """The agent did what it was asked, and it did not work in the guest."""


class Agent:
    """The agent of one machine. The connection is made when it is first needed and kept."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._synced = False
        self._number = 0

    async def call(
        self, command: str, arguments: Mapping[str, Any] | None = None, timeout_s: float = _ANSWER_TIMEOUT_S
    ) -> Any:
        """The agent's answer; raises `Conflict` when none answers in time, `AgentError` when it says no."""
        async with self._lock:
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await self._ask(command, arguments)
            except TimeoutError as error:
                raise self._silent(f"no answer to {command} within {timeout_s:g} s") from error
            except (EOFError, ConnectionError) as error:
                self.close()
                raise self._silent("it went away") from error
            except (OSError, ValueError) as error:
                self.close()
                raise self._silent(str(error)) from error
        if "error" in answer:
            told = answer["error"]
            raise AgentError(str(told.get("desc", told) if isinstance(told, dict) else told)[:1000])
        return answer.get("return")

    def close(self) -> None:
        """Hang up; the next request calls again."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams, self._synced = None, False

    async def _ask(self, command: str, arguments: Mapping[str, Any] | None) -> dict[str, Any]:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(
                sock=self._folder.connect("agent"), limit=_LONGEST_ANSWER_BYTES
            )
        reader, writer = self._streams
        if not self._synced:
            await self._sync(reader, writer)
        self._synced = False
        request = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        answer = _object(await _line(reader))
        self._synced = True
        return answer

    async def _sync(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Throw away what may still come from before."""
        self._number += 1
        request = {"execute": "guest-sync-delimited", "arguments": {"id": self._number}}
        writer.write(_SENTINEL + json.dumps(request).encode() + b"\n")
        await writer.drain()
        while True:
            await reader.readuntil(_SENTINEL)
            with contextlib.suppress(ValueError):
                if _object(await _line(reader)).get("return") == self._number:
                    return

    def _silent(self, why: str) -> Conflict:
        return Conflict(
            f"the guest agent does not answer: {why}",
            subject=f"machine {self._folder.machine}",
            hint="is qemu-guest-agent installed and running in the guest? `guest console` shows it",
        )


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError(f"an answer of more than {_LONGEST_ANSWER_BYTES} bytes") from error


def _object(line: bytes) -> dict[str, Any]:
    answer = json.loads(line.lstrip(_SENTINEL))
    if not isinstance(answer, dict):
        raise ValueError("an answer that is no JSON object")
    return answer


async def execute(agent: Agent, command: GuestCommand) -> GuestResult:
    """Run a program in the guest and wait for its end; raises `AgentError` when it cannot be started, `TimedOut`."""
    try:
        async with asyncio.timeout(command.timeout_s):
            return await _execute(agent, command)
    except TimeoutError as error:
        raise TimedOut(
            f"{command.argv[0]} did not end in the guest within {command.timeout_s:g} s",
            hint="it may still be running there",
        ) from error


async def _execute(agent: Agent, command: GuestCommand) -> GuestResult:
    arguments: dict[str, Any] = {"path": command.argv[0], "arg": list(command.argv[1:]), "capture-output": True}
    if command.environment:
        arguments["env"] = list(command.environment)
    if command.stdin:
        arguments["input-data"] = base64.b64encode(command.stdin).decode()
    pid = (await agent.call("guest-exec", arguments))["pid"]
    pause_s = _FIRST_QUESTION_S
    while not (status := await agent.call("guest-exec-status", {"pid": pid}))["exited"]:
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _SLOWER, _LAST_QUESTION_S)
    ended = 128 + status["signal"] if "signal" in status else status.get("exitcode", 0)
    return GuestResult(
        exit_status=ended,
        stdout=base64.b64decode(status.get("out-data", "")),
        stderr=base64.b64decode(status.get("err-data", "")),
    )


async def read_file(agent: Agent, path: str) -> AsyncGenerator[bytes, None]:
    """The content of a file in the guest, piece by piece; raises `NotFound` when it cannot be opened."""
    try:
        handle = await agent.call("guest-file-open", {"path": path, "mode": "r"})
    except AgentError as error:
        raise NotFound(f"{path} cannot be read in the guest: {error}", field="path", value=path) from error
    try:
        while True:
            piece = await agent.call("guest-file-read", {"handle": handle, "count": _CHUNK_BYTES})
            if data := base64.b64decode(piece.get("buf-b64", "")):
                yield data
            if piece["eof"] or not piece["count"]:
                return
    finally:
        await agent.call("guest-file-close", {"handle": handle})


async def write_file(agent: Agent, path: str, content: AsyncIterator[bytes], mode: int | None) -> None:
    """Write a file in the guest; it has its permissions before it has content."""
    handle = await agent.call("guest-file-open", {"path": path, "mode": "w"})
    try:
        if mode is not None:
            await _set_mode(agent, path, mode)
        async for data in content:
            for at in range(0, len(data), _CHUNK_BYTES):
                await _write(agent, handle, data[at : at + _CHUNK_BYTES])
        await agent.call("guest-file-flush", {"handle": handle})
    finally:
        await agent.call("guest-file-close", {"handle": handle})


async def _set_mode(agent: Agent, path: str, mode: int) -> None:
    changed = await execute(agent, GuestCommand(argv=("chmod", f"{mode:o}", path)))
    if changed.exit_status:
        raise AgentError(f"chmod of {path} in the guest: {changed.stderr.decode(errors='replace').strip()}")


async def _write(agent: Agent, handle: int, data: bytes) -> None:
    while data:
        encoded = base64.b64encode(data).decode()
        told = await agent.call("guest-file-write", {"handle": handle, "buf-b64": encoded})
        data = data[told["count"] :]
