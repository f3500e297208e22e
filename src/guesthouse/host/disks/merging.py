"""Merging layers of a disk that no machine uses: a storage daemon does what a running QEMU does by itself.

qemu-img rebase would do too, but takes the new base by a name that ends up in the header, and follows the names in
headers from there; here every layer is told by node.

Source: qemu-storage-daemon(1).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from socket import socket as Socket
from socket import socketpair

from guesthouse.host.machines import qmp
from guesthouse.host.machines.qmp import Monitor
from guesthouse.host.streaming import copy, follow
from guesthouse.model.errors import Failed
from guesthouse.ports import Progress
from guesthouse.qemu import streaming
from guesthouse.qemu.block import DiskFile, bare, downward

_GREETING_TIMEOUT_S = 30.0
_JOB = "merge"


async def merge(layer: DiskFile, under: DiskFile | None, subject: str, progress: Progress) -> None:
    """Take into the file of `layer` all that lies between it and `under`, whose name its header then has.

    Raises `NoCapacity`, or `Failed` when a file cannot be opened.
    """
    files = list(downward(layer))
    base = next((number for number, file in enumerate(files) if under is not None and file.path == under.path), None)
    if under is not None and base is None:
        raise Failed(f"{subject}: {layer.path.name} does not lie on {under.path.name}", subject=subject)
    name = os.path.relpath(under.path, layer.path.parent) if under is not None else ""
    command = streaming.stream(_JOB, _node(0), "" if base is None else _node(base), name)
    # It flushes what it copied when it closes the layer, and no sooner; the header must not change before that. The
    # second one has nothing left to copy.
    for part in (copy, follow):
        async with _storage_daemon(bare(layer, _node), subject) as monitor:
            await part(monitor, _JOB, command, subject, progress)


def _node(level: int) -> str:
    return f"layer{level}"


@contextlib.asynccontextmanager
async def _storage_daemon(blockdev: dict[str, object], subject: str) -> AsyncIterator[Monitor]:
    """A QEMU without a machine that has the layers open; it ends with the block, and with this daemon."""
    ours, theirs = socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            # It must not go on writing when the one who knows of it is gone.
            *("setpriv", "--pdeathsig", "KILL", "--", "qemu-storage-daemon"),
            *("--blockdev", json.dumps(blockdev)),
            *("--chardev", f"socket,id=qmp,fd={theirs.fileno()}"),
            *("--monitor", "chardev=qmp"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
        )
    try:
        monitor = await _greeted(ours, process, subject)
        try:
            yield monitor
        finally:
            await monitor.close()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        status = await process.wait()
    if status:
        raise Failed(f"{subject}: the program that merges its layers ended with status {status}", subject=subject)


async def _greeted(connection: Socket, process: asyncio.subprocess.Process, subject: str) -> Monitor:
    try:
        return await qmp.connect(connection, _GREETING_TIMEOUT_S)
    except qmp.Gone as error:
        assert process.stderr is not None
        said = (await process.stderr.read()).decode(errors="replace").strip()
        raise Failed(f"{subject}: its layers cannot be opened: {said}", subject=subject) from error
