"""`guest` against a real house: real engine, store and door on a real socket, and a host in memory."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.doors.native.conftest import Open, house
from tests.patience import PATIENCE_S

from guesthouse.cli.main import run
from guesthouse.cli.terminal import Terminal

__all__ = ["house"]

SOURCE = Path(__file__).parents[2] / "src"
MAIN = (sys.executable, "-c", "from guesthouse.cli.main import main; main()")
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "00000000-0000-4000-8000-000000000000"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-01-01 00:00:00"),
    (re.compile(r"52:54:00(:[0-9a-f]{2}){3}"), "52:54:00:00:00:01"),
    (re.compile(r"gh_[\w-]+"), "gh_secret"),
    (re.compile(r"\bfd[0-9a-f:]+/64"), "fd00:0:0:1::/64"),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Told(io.BytesIO):
    """Bytes that were written, and an event for the moment when a text is among them."""

    def __init__(self, text: str, seen: Callable[[], object]) -> None:
        super().__init__()
        self._text = text.encode()
        self._seen = seen

    def write(self, data: Any) -> int:
        written = super().write(data)
        if self._text in self.getvalue():
            self._seen()
        return written


class Guest:
    """Runs command lines of `guest` in this process, against a house."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = {"GUESTHOUSE_HOME": str(home), "HOME": str(home / "user"), **environment}

    async def __call__(self, line: str, stdin: bytes = b"", **environment: str) -> Ended:
        """Run ``guest LINE``; it blocks in a thread, so that the house can answer."""
        words = shlex.split(line)
        return await asyncio.to_thread(self.run, words, stdin, {**self.environment, **environment})

    async def ok(self, line: str, stdin: bytes = b"", **environment: str) -> Ended:
        """Run a command that must end well."""
        ended = await self(line, stdin, **environment)
        assert ended.code == 0, ended
        return ended

    async def telling(self, line: str, text: str) -> asyncio.Task[Ended]:
        """Start ``guest LINE`` and wait until it has told `text` on standard error; it goes on as a task."""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        stderr = Told(text, lambda: loop.call_soon_threadsafe(told.set))
        task = asyncio.create_task(asyncio.to_thread(self.run, shlex.split(line), b"", self.environment, stderr))
        async with asyncio.timeout(PATIENCE_S):
            await told.wait()
        return task

    def run(
        self, words: list[str], stdin: bytes, environment: Mapping[str, str], stderr: io.BytesIO | None = None
    ) -> Ended:
        terminal = self.terminal(stdin, environment, stderr)
        code = run(words, terminal)
        written = []
        for stream in (terminal.stdout, terminal.stderr):
            stream.flush()
            written.append(stream.buffer.getvalue().decode(errors="backslashreplace"))
        return Ended(code, *written)

    def terminal(
        self, stdin: bytes = b"", environment: Mapping[str, str] | None = None, stderr: io.BytesIO | None = None
    ) -> Terminal:
        """A terminal that is none: its streams are in memory, and its clock stands still."""
        raw = (io.BytesIO(stdin), io.BytesIO(), stderr or io.BytesIO())
        streams = [io.TextIOWrapper(each, encoding="utf-8") for each in raw]
        return Terminal(
            environment=environment or self.environment, stdin=streams[0], stdout=streams[1], stderr=streams[2],
            clock=lambda: 0.0,
        )  # fmt: skip

    def process_environment(self, **more: str) -> dict[str, str]:
        """For `guest` as a process of its own."""
        return {**os.environ, **self.environment, "PYTHONPATH": str(SOURCE), **more}

    def steady(self, text: str) -> str:
        """A text without what differs from run to run: ids, times, addresses, the house's folder."""
        text = text.replace(str(self.home), "/house")
        for pattern, stands_for in _CHANGING:
            text = pattern.sub(stands_for, text)
        return text


@pytest.fixture
def guest(house: Open) -> Guest:
    (house.home / "user").mkdir()
    return Guest(house.home)
