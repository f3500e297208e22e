"""Bare QEMU: what starting a machine costs when nobody looks after it.

`start` is the script of ten lines that anyone would write: listen, start, greet, continue, ask. `fork` is the same
for a frozen machine: listen, start, greet, restore, continue, ask.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guesthouse.host.frozen.folder import TemplateFolder

_MEMORY = re.compile(r'("mem-path": ")/proc/self/fd/\d+')
_DESCRIPTOR = re.compile(r"((?:^|,)fd=|/proc/self/fd/)(\d+)")


def start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start QEMU with a machine's own arguments, its sockets on descriptors of ours, until its vCPUs run."""
    with tempfile.TemporaryDirectory(prefix="guesthouse-bare-") as folder, _Descriptors(Path(folder)) as descriptors:
        words = [_DESCRIPTOR.sub(descriptors.take, word) for word in argv]
        process = subprocess.Popen(words, pass_fds=descriptors.numbers, cwd="/", stdin=subprocess.DEVNULL)
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.connect(f"{folder}/{descriptors.name_of(argv, 'qmp')}")
            stream = qmp.makefile("rwb")
            stream.readline()
            for command in ("qmp_capabilities", "cont"):
                _ask(stream, command)
            assert _ask(stream, "query-status")["running"]
    return process


def fork(argv: Sequence[str], template: TemplateFolder) -> subprocess.Popen[bytes]:
    """Fork a frozen machine with a fork's own arguments and the template's files, until its vCPUs run."""
    with (
        tempfile.TemporaryDirectory(prefix="guesthouse-bare-") as folder,
        _Descriptors(Path(folder)) as descriptors,
        template.state.open("rb") as state,
    ):
        words = [
            _DESCRIPTOR.sub(descriptors.take, _MEMORY.sub(lambda match: f"{match[1]}{template.memory}", word))
            for word in argv
        ]
        kept = (*descriptors.numbers, state.fileno())
        process = subprocess.Popen(words, pass_fds=kept, cwd="/", stdin=subprocess.DEVNULL)
        with socket.socket(socket.AF_UNIX) as qmp:
            qmp.connect(f"{folder}/{descriptors.name_of(argv, 'qmp')}")
            stream = qmp.makefile("rwb")
            stream.readline()
            _ask(stream, "qmp_capabilities")
            stay = [{"capability": "x-ignore-shared", "state": True}]
            _ask(stream, "migrate-set-capabilities", capabilities=stay)
            _ask(stream, "migrate-incoming", uri=f"fd:{state.fileno()}")
            while _ask(stream, "query-migrate").get("status") != "completed":
                pass
            _ask(stream, "cont")
            assert _ask(stream, "query-status")["running"]
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Force it off."""
    process.kill()
    process.wait()


def arguments_of(pid: int) -> list[str]:
    """The argument list of a running process."""
    return [word.decode() for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]


def _ask(stream: Any, command: str, **arguments: Any) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}).encode())
    stream.flush()
    while "return" not in (answer := json.loads(stream.readline())):
        assert "event" in answer, answer
    return answer["return"]


class _Descriptors:
    """A listening socket for every descriptor that an argument list names; a folder for the screen's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ours: dict[str, socket.socket] = {}

    def __enter__(self) -> _Descriptors:
        return self

    def __exit__(self, *exc: object) -> None:
        for listener in self._ours.values():
            listener.close()

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(listener.fileno() for listener in self._ours.values())

    def take(self, match: re.Match[str]) -> str:
        """The words for a descriptor of ours in place of one that was the daemon's."""
        number = match[2]
        if number not in self._ours:
            listener = self._ours[number] = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._folder / number))
            listener.listen()
        return f"{match[1]}{self._ours[number].fileno()}"

    def name_of(self, argv: Sequence[str], chardev: str) -> str:
        """The number that a character device's socket has in the argument list."""
        word = next(word for word in argv if re.search(rf"(^|,)id={chardev}(,|$)", word))
        found = _DESCRIPTOR.search(word)
        assert found is not None, word
        return found[2]
