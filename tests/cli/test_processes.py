"""`guest` as a process of its own: terminals, ssh, folders in tar, the daemon."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import MAIN, Guest
from tests.cli.test_waiting import GATE, close_gate
from tests.doors.native.conftest import Open
from tests.patience import PATIENCE_S

from guesthouse.ports import GuestCommand, GuestResult


class Terminal:
    """`guest` on a pseudo-terminal."""

    def __init__(self, master: int, process: asyncio.subprocess.Process) -> None:
        self.master = master
        self.process = process
        self.seen = ""

    async def until(self, text: str) -> str:
        """Everything shown so far, once `text` is among it; fails when the command ends before."""
        return await self.until_match(re.escape(text))

    async def until_match(self, pattern: str) -> str:
        """The same for a pattern."""
        async with asyncio.timeout(PATIENCE_S):
            while not re.search(pattern, self.seen):
                self.seen += (await asyncio.to_thread(os.read, self.master, 4096)).decode()
        return self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)


@asynccontextmanager
async def on_terminal(guest: Guest, *words: str, **environment: str) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    environment = guest.process_environment(TERM="xterm", **environment)
    process = await asyncio.create_subprocess_exec(
        *MAIN, *words, stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    try:
        yield Terminal(master, process)
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(slave)
        os.close(master)


async def in_process(guest: Guest, *words: str, stdin: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
    return await asyncio.to_thread(
        subprocess.run, [*MAIN, *words], input=stdin, capture_output=True, env=guest.process_environment(**more)
    )


@pytest.fixture
async def web(guest: Guest) -> Guest:
    await guest.ok("image build micro")
    await guest.ok("launch --name web")
    return guest


async def test_console_types_and_shows_until_the_escape(web: Guest) -> None:
    async with on_terminal(web, "console", "web") as terminal:
        await terminal.until("connected to web; Ctrl-] leaves")
        terminal.type(b"uname\r\x03")
        await terminal.until("uname\r\x03")
        terminal.type(b"\x1d")
        await terminal.until("left web")
    assert terminal.process.returncode == 0


async def test_console_takes_standard_input_of_a_program(web: Guest, house: Open) -> None:
    process = await asyncio.create_subprocess_exec(
        *MAIN, "console", "web", env=web.process_environment(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout
    process.stdin.write(b"halt\n")
    process.stdin.close()
    assert await process.stdout.readline() == b"halt\n"
    (console,) = house.host.guests.consoles.values()
    console.said.put_nowait(b"")
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"connected to web; Ctrl-] leaves\nweb closed its console\n")


async def test_a_console_that_is_refused_is_told(guest: Guest) -> None:
    ended = await in_process(guest, "console", "nobody")
    assert ended.returncode == 3
    assert ended.stderr.startswith(b"error: there is no machine 'nobody'\n")


async def test_progress_is_one_line_on_a_terminal(guest: Guest, house: Open) -> None:
    await guest.ok("image build micro")
    gate = close_gate(house, "start")
    async with on_terminal(guest, "launch", "--name", "web") as terminal:
        await terminal.until_match(rf"\r\x1b\[Klaunch web: {GATE} \[#{{10}}\.{{10}}\]  50% \((?!0s)[0-9hms]+\)")
        gate.set()
        seen = await terminal.until("\r\x1b[Kweb is configured; `guest shell web` enters it\r\n")
    assert seen.count("\n") == 1


@pytest.mark.parametrize(("no_color", "shown"), [("", "\x1b[1;31merror:\x1b[0m there"), ("1", "error: there")])
async def test_colour_is_for_terminals_that_want_it(guest: Guest, no_color: str, shown: str) -> None:
    async with on_terminal(guest, "show", "nobody", NO_COLOR=no_color) as terminal:
        await terminal.until("there is no machine")
        assert shown in terminal.seen
    assert terminal.process.returncode == 3


async def test_deleting_asks_on_a_terminal(web: Guest) -> None:
    for answer, code in ((b"n\r", 1), (b"y\r", 0)):
        async with on_terminal(web, "delete", "web") as terminal:
            await terminal.until("Delete web? [y/N] ")
            terminal.type(answer)
            await terminal.until("deleted web" if code == 0 else "nothing was changed")
        assert terminal.process.returncode == code
    assert (await web.ok("list -q")).out == ""


async def test_reverting_asks_on_a_terminal(web: Guest) -> None:
    await web.ok("snapshot create web fresh")
    for answer, code in ((b"n\r", 1), (b"y\r", 0)):
        async with on_terminal(web, "snapshot", "revert", "web", "fresh") as terminal:
            await terminal.until("Revert web to fresh? What it is now is lost. [y/N] ")
            terminal.type(answer)
            await terminal.until("web is what it was at fresh" if code == 0 else "nothing was changed")
        assert terminal.process.returncode == code


async def test_logs_on_a_terminal_are_harmless(web: Guest, monkeypatch: pytest.MonkeyPatch, house: Open) -> None:
    async def log(*_: Any, **__: Any) -> bytes:
        return b"\x1b]0;title\x07\x1b[31mred\x1b[0m \x9b2J\x08done\r\n"

    monkeypatch.setattr(house.host.guests, "log", log)
    async with on_terminal(web, "logs", "web") as terminal:
        seen = await terminal.until("done")
    assert "\x1b" not in seen
    assert "red" in seen
    assert (await web.ok("logs web")).out.startswith("\x1b]0;title")


async def test_logs_are_followed_without_a_gap_and_nothing_twice(web: Guest, house: Open) -> None:
    process = await asyncio.create_subprocess_exec(
        *MAIN, "logs", "web", "-f", env=web.process_environment(), stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert await process.stdout.readline() == b"login: \xff\n"
    (console,) = house.host.guests.consoles.values()
    console.said.put_nowait(b"\xff\nroot\n")
    assert await process.stdout.readline() == b"root\n"
    console.said.put_nowait(b"more\n")
    assert await process.stdout.readline() == b"more\n"
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_events_are_followed_from_now_on(web: Guest) -> None:
    process = await asyncio.create_subprocess_exec(
        *MAIN, "events", "--follow", "--json", env=web.process_environment(), stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert process.stdout
    # It follows once a second event log reader would: the first new event is told to it, whenever it came.
    reading = asyncio.create_task(process.stdout.readline())
    number = 0
    while not reading.done():
        await web.ok(f"disk create d{number} 1G")
        number += 1
    first = json.loads(await reading)
    assert first["subject_kind"] == "disk"
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 0
    told = await in_process(web, "events", "--after", str(first["number"] - 1), "--json")
    assert json.loads(told.stdout)["items"][0] == first


async def test_shell_becomes_ssh(web: Guest) -> None:
    """`ssh -G` is the real ssh, telling how it would go about it."""
    told = (await in_process(web, "shell", "me@web", "--", "-G")).stdout.decode().splitlines()
    known_hosts = web.home / "ssh/default/web.known_hosts"
    for line in (
        "user me", "hostname 127.0.0.1", "port 40022", "identitiesonly yes", "stricthostkeychecking true",
        f"userknownhostsfile {known_hosts}",
    ):  # fmt: skip
        assert line in told
    assert known_hosts.read_text() == "[127.0.0.1]:40022 ssh-ed25519 AAAA\n"
    assert known_hosts.stat().st_mode & 0o777 == 0o600


async def test_plain_ssh_finds_every_machine(web: Guest) -> None:
    user_file = web.home / "user/.ssh/config"
    user_file.parent.mkdir(mode=0o700)
    user_file.write_text("Host elsewhere\n    User them\n")
    for _ in range(2):
        await web.ok("ssh-config --install")
    config = web.home / "ssh/default/config"
    assert user_file.read_text() == f"Include {config}\n\nHost elsewhere\n    User them\n"
    await web.ok("launch --name db")
    for name, port in (("web", 40022), ("db.default", 40023)):
        told = subprocess.run(["ssh", "-F", user_file, "-G", name], capture_output=True, text=True, check=True).stdout
        assert f"port {port}\n" in told
    await web.ok("delete web --yes")
    assert "Host web" not in config.read_text()
    assert [path.name for path in config.parent.iterdir() if path.name != "config"] == ["db.known_hosts"]


async def test_exec_passes_streams_and_status(web: Guest) -> None:
    ended = await in_process(web, "exec", "web", "--", "wc", "-c", stdin=b"\x00\xff")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"wc\n-c", b"\x00\xff")
    told = await in_process(web, "exec", "--json", "web", "true")
    assert json.loads(told.stdout) == {"exit_status": 3, "stdout": "true", "stderr": ""}


async def test_a_file_is_copied_both_ways(web: Guest, tmp_path: Path) -> None:
    here = tmp_path / "site.conf"
    here.write_bytes(bytes(range(256)) * 4096)
    here.chmod(0o750)
    await web.ok(f"copy {here} web:/etc/")
    back = tmp_path / "back"
    back.mkdir()
    await web.ok(f"cp web:/etc/site.conf {back}")
    assert (back / "site.conf").read_bytes() == here.read_bytes()
    failed = await web(f"copy web:/etc/none {back}/kept")
    assert (failed.code, [path.name for path in back.iterdir()]) == (3, ["site.conf"])
    assert (await web(f"copy web:/etc/site.conf {back}/none/x")).code == 2


async def test_a_folder_is_copied_both_ways(
    web: Guest, house: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The guest is this box: its programs run here, its files are ours."""

    async def execute(machine: str, command: GuestCommand) -> GuestResult:
        process = await asyncio.create_subprocess_exec(
            *command.argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
        return GuestResult(process.returncode or 0, out, err)

    async def read(machine: str, path: str) -> AsyncIterator[bytes]:
        yield Path(path).read_bytes()

    async def write(machine: str, path: str, chunks: AsyncIterator[bytes], mode: int | None) -> None:
        passed.append(path)
        Path(path).write_bytes(b"".join([chunk async for chunk in chunks]))

    passed: list[str] = []
    monkeypatch.setattr(house.host.guests, "execute", execute)
    monkeypatch.setattr(house.host.files, "read", read)
    monkeypatch.setattr(house.host.files, "write", write)
    site, back = tmp_path / "site", tmp_path / "back"
    (site / "sub").mkdir(parents=True)
    (site / "sub/page").write_text("hello")
    back.mkdir()
    await web.ok(f"copy -r {site} web:{tmp_path}/srv")
    assert (tmp_path / "srv/site/sub/page").read_text() == "hello"
    await web.ok(f"copy -r web:{tmp_path}/srv/site {back}")
    assert (back / "site/sub/page").read_text() == "hello"
    assert passed and not Path(passed[0]).exists()
    missing = await web(f"copy -r web:{tmp_path}/nothing {back}")
    assert (missing.code, "No such file" in missing.err) == (1, True)
    assert (await web(f"copy -r {site}/sub/page web:/tmp")).code == 2
    assert (await web(f"copy -r web:/tmp {back}/none")).code == 2


async def test_serve_runs_a_daemon_until_it_is_told_to_stop(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    process = await asyncio.create_subprocess_exec(
        *MAIN, "serve", "--no-networks", env=guest.process_environment(), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"is open at" not in (line := await process.stderr.readline()):
                assert line, "it ended"
        assert (await guest.ok("list -q")).out == ""
        second = await in_process(guest, "serve", "--no-networks")
        assert (second.returncode, b"has a daemon already" in second.stderr) == (4, True)
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    assert (await guest("list")).code == 21
