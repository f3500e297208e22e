"""What a machine's screen shows: QEMU writes it to a file in memory that we lend it.

Rules
-----
1. The file is lent once, for as long as the conversation lasts: QEMU takes no file back while its vCPUs stand still.
2. A picture is in it only as long as it is looked at. A daemon that is killed meanwhile leaves nothing else behind.

Source: QEMU's qapi/ui.json, ``screendump``; qapi/misc.json, ``add-fd``; memfd_create(2).
"""

from __future__ import annotations

import asyncio
import os

from guesthouse.formats.pictures import MAX_PPM_BYTES, Picture, read_ppm
from guesthouse.host.machines.qmp import Monitor
from guesthouse.qemu.messages import screendump


class Screen:
    """The screen of the QEMU with which this conversation is."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._file: _File | None = None
        self._looking = asyncio.Lock()

    async def picture(self) -> Picture:
        """The screen as it is now; raises `Refused` where there is none, `Failed` where QEMU wrote no picture."""
        async with self._looking:
            if self._file is None:
                self._file = await _File.lent_to(self._monitor)
            try:
                self._file.empty()
                await self._monitor.execute(screendump(self._file.number))
                return read_ppm(self._file.read())
            finally:
                self._file.empty()

    def close(self) -> None:
        """Let go of the file; nobody looks any more."""
        if self._file is not None:
            self._file.close()
            self._file = None


class _File:
    """A file in memory: we read it, QEMU gets it to write and nothing else, which is how it wants to have it."""

    def __init__(self) -> None:
        self.number = -1
        self._memory = os.memfd_create("screen", os.MFD_CLOEXEC)
        self._to_write = os.open(f"/proc/self/fd/{self._memory}", os.O_WRONLY | os.O_CLOEXEC)

    @classmethod
    async def lent_to(cls, monitor: Monitor) -> _File:
        """A new one; its `number` is what QEMU knows it by."""
        file = cls()
        try:
            file.number = await monitor.lend(file._to_write)
        except BaseException:
            file.close()
            raise
        return file

    def read(self) -> bytes:
        return os.pread(self._memory, MAX_PPM_BYTES, 0)

    def empty(self) -> None:
        """Empty it, and have QEMU write at its beginning: its copy of the descriptor shares the offset."""
        os.ftruncate(self._to_write, 0)
        os.lseek(self._to_write, 0, os.SEEK_SET)

    def close(self) -> None:
        os.close(self._to_write)
        os.close(self._memory)
