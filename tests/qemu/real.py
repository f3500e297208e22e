"""A real QEMU started from a scenario: sockets bound first, QMP connected, gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient
from tests.patience import PATIENCE_S
from tests.qemu.scenarios import Scenario

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.machines.wiring import idle_taps
from guesthouse.qemu.boot import Bios, Boot, Direct, Sockets, Uefi
from guesthouse.qemu.command import command
from guesthouse.qemu.messages import QUIT, Command
from guesthouse.qemu.placed import Placed


@dataclass
class Machine:
    """A QEMU process and its QMP connection; `console` is its serial line."""

    process: asyncio.subprocess.Process
    qmp: QMPClient
    folder: Path

    async def tell(self, *commands: Command) -> Any:
        """Send commands; the reply of the last."""
        reply = None
        for one in commands:
            reply = await self.qmp.execute(one.name, dict(one.arguments))
        return reply

    async def unplug(self, request: Command) -> None:
        """Ask for a device to go and wait until it has gone.

        QEMU refuses while the slot is busy (its power indicator blinks) and tells nobody when that is over.
        """
        with self.qmp.listener("DEVICE_DELETED") as deleted:
            async with asyncio.timeout(PATIENCE_S):
                gone = False
                while not gone:
                    with contextlib.suppress(ExecuteError):
                        await self.tell(request)
                    gone = await _has_gone(deleted, request.arguments["id"])


async def _has_gone(deleted: EventListener, device: Any) -> bool:
    """Whether a device goes within a second."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            async for event in deleted:
                data: Any = event["data"]
                if data.get("device") == device:
                    return True
    return False


class Console:
    """The root shell on the serial line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def wait(self, text: str) -> None:
        """Read until the guest has written `text`."""
        await self._reader.readuntil(text.encode())

    async def until(self, condition: str) -> None:
        """Let the guest wait until a shell condition holds in it."""
        # The mark is split by quotes, so that the echo of the line is not taken for it.
        self._writer.write(f"until {condition}; do sleep 0.05; done; echo it-is-''so\n".encode())
        await self.wait("it-is-so")


@asynccontextmanager
async def console(folder: Path) -> AsyncIterator[Console]:
    reader, writer = await asyncio.open_unix_connection(str(folder / "console.sock"))
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield Console(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def started(placed: Placed, boot: Boot) -> AsyncIterator[Machine]:
    """Start QEMU with the sockets of `boot` bound in its folder."""
    folder = boot.pidfile.parent
    with listening(folder) as sockets, idle_taps(placed) as taps:
        argv = command(placed, replace(boot, sockets=sockets, taps=taps))
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(sockets.qmp, sockets.console, sockets.agent, sockets.report, *taps.values()),
        )
    qmp = QMPClient(placed.machine_type)
    try:
        async with asyncio.timeout(PATIENCE_S):
            try:
                await qmp.connect(str(folder / "qmp.sock"))
            except Exception as error:
                assert process.stderr is not None
                raise AssertionError((await process.stderr.read()).decode()) from error
        yield Machine(process, qmp, folder)
        await qmp.execute(QUIT.name)
        assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        with contextlib.suppress(Exception):
            await qmp.disconnect()


@contextmanager
def listening(folder: Path) -> Iterator[Sockets]:
    """Sockets bound and listening in `folder`, for QEMU to inherit."""
    with ExitStack() as stack:
        fds = {}
        for name in ("qmp", "console", "agent", "report"):
            bound = stack.enter_context(socket.socket(socket.AF_UNIX))
            bound.bind(str(folder / f"{name}.sock"))
            bound.listen()
            fds[name] = bound.fileno()
        yield Sockets(**fds)


def in_folder(scenario: Scenario, folder: Path, micro: BuiltImage) -> Scenario:
    """The scenario with files that are really there, on QEMU's own emulator of processors."""
    (folder / "seed.iso").write_bytes(bytes(1 << 20))
    image = folder / "image.qcow2"
    qemu_img("create", "-f", "qcow2", str(image), "64M")
    made = replace(scenario, folder=folder, image=image, accelerator="tcg", firmware=_firmware(scenario, folder, micro))
    if (memory := scenario.more.get("memory")) is not None:
        made = replace(made, more={**scenario.more, "memory": replace(memory, path=folder / "memory")})
    for file in made.disks().values():
        under = ("-b", str(file.backing.path), "-F", "qcow2") if file.backing else ()
        qemu_img("create", "-f", file.format, *under, str(file.path), "64M")
    return made


def _firmware(scenario: Scenario, folder: Path, micro: BuiltImage) -> Direct | Bios | Uefi:
    match scenario.firmware:
        case Direct(_, initrd, _):
            assert micro.kernel and micro.initrd
            return Direct(micro.folder / micro.kernel, initrd and micro.folder / micro.initrd, micro.cmdline)
        case Uefi(code, _):
            variables = folder / "variables.fd"
            variables.write_bytes(code.with_name("OVMF_VARS_4M.fd").read_bytes())
            return Uefi(code, variables)
        case bios:
            return bios


def qemu_img(*arguments: str) -> None:
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)
