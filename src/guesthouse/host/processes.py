"""Programs that we start and wait for: one function, `run`.

Rules
-----
1. A program is an argument list, never a shell line; it gets no terminal and no inherited environment
   beyond what it needs to find itself and speak plain English.
2. Its output is read while it runs; the last part is kept for the error message.
3. It never outlives the call: cancelled or late, it is killed with its whole process group.
4. Hostile input is handled by a program with limits (`Limits`): processor time, memory, file size.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from guesthouse.model.errors import ChildFailed, Failed, TimedOut

_KEPT_OUTPUT_BYTES = 64 * 1024
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class Limits(NamedTuple):
    """What a program may use up; None means no limit of ours. Enforced with setrlimit(2)."""

    cpu_s: int | None = None
    memory_mib: int | None = None
    file_mib: int | None = None

    def apply(self) -> None:
        """Set the limits on this process; called in the child before exec."""
        for number, limit, unit in (
            (resource.RLIMIT_CPU, self.cpu_s, 1),
            (resource.RLIMIT_AS, self.memory_mib, 1 << 20),
            (resource.RLIMIT_FSIZE, self.file_mib, 1 << 20),
        ):
            if limit is not None:
                resource.setrlimit(number, (limit * unit, limit * unit))


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
    on_output: Callable[[str], None] | None = None,
    subject: str = "",
    hint: str = "",
) -> bytes:
    """Run a program to its end and return what it wrote to standard output.

    `on_line` sees every line of standard error as it comes (a carriage return ends a line too, as progress
    meters write it); `on_output` sees those of standard output, of which then only the end is returned.
    Raises `ChildFailed` with command and last lines when it ends badly, `Failed` when it is not installed,
    `TimedOut` after `timeout_s`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env={**_ENVIRONMENT, **(environment or {})},
            start_new_session=True,
            preexec_fn=limits.apply if limits else None,
        )
    except FileNotFoundError as error:
        raise Failed(
            f"{argv[0]} is not installed on this host",
            subject=subject,
            hint="`guest host check` tells which package brings it",
        ) from error
    try:
        async with asyncio.timeout(timeout_s):
            output, said = await _communicate(process, stdin, on_line, on_output)
    except TimeoutError as error:
        raise TimedOut(f"{argv[0]} did not end within {timeout_s:g} s: {' '.join(argv)}", subject=subject) from error
    finally:
        await _end(process)
    if process.returncode:
        raise ChildFailed(argv, process.returncode, said or output.decode(errors="replace"), subject=subject, hint=hint)
    return output


async def until_closed(said: BinaryIO, name: str, timeout_s: float) -> str:
    """All that a program called `name` writes to a pipe until it closes that: how daemons say that they are ready.

    Raises `TimedOut` when that takes too long.
    """
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, said)
    try:
        async with asyncio.timeout(timeout_s):
            return (await reader.read()).decode(errors="replace")
    except TimeoutError as error:
        raise TimedOut(f"{name} did not serve within {timeout_s:g} s") from error
    finally:
        transport.close()


async def _communicate(
    process: asyncio.subprocess.Process,
    stdin: bytes,
    on_line: Callable[[str], None] | None,
    on_output: Callable[[str], None] | None,
) -> tuple[bytes, str]:
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as tasks:
        output = tasks.create_task(_lines(process.stdout, on_output) if on_output else process.stdout.read())
        said = tasks.create_task(_lines(process.stderr, on_line))
        if process.stdin is not None:
            tasks.create_task(_feed(process.stdin, stdin))
    await process.wait()
    return output.result(), said.result().decode(errors="replace")


async def _feed(pipe: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(data)
        await pipe.drain()
    pipe.close()


async def _lines(pipe: asyncio.StreamReader, on_line: Callable[[str], None] | None) -> bytes:
    kept, rest = b"", b""
    while chunk := await pipe.read(16 * 1024):
        kept = (kept + chunk)[-_KEPT_OUTPUT_BYTES:]
        *whole, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        if on_line is not None:
            for line in whole:
                on_line(line.decode(errors="replace"))
    if rest and on_line is not None:
        on_line(rest.decode(errors="replace"))
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the program and its children; the group's id is free for reuse only after this."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
