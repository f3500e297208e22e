"""How far a guest is: kept over a restart of the daemon, never claiming more than is known.

Rules
-----
1. A stage is that of one run and one boot: another run, or a reset of the guest, begins at `running` again.
2. A guest that reports `reachable` after it was `configured` has booted again while nobody looked.
3. A guest may tell what it likes, as often as it likes: what it tells is taken up at a bounded rate, and then
   its writes wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from guesthouse.formats.outcome import LONGEST_REPORT_BYTES, parse_report, told_host_key
from guesthouse.host.durable import write_whole
from guesthouse.host.machines.folder import Folder
from guesthouse.host.seed import keep_told_host_key
from guesthouse.model.machine import Outcome, Stage

_LOG = logging.getLogger(__name__)
_AT_ONCE = 16
_REFILL_S = 2.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``stage.json``; `started_at` tells of which run."""

    started_at: float
    stage: Stage
    outcome: Outcome | None = None
    reports: bool = False


class Stages:
    """The stage of one run; `tell` is called at every change, `rebooted` set by a reset.

    `reports` says that the guest has reported by itself in this boot: then it knows best.
    """

    def __init__(self, folder: Folder, started_at: float, tell: Callable[[], None]) -> None:
        self.stage = Stage.RUNNING
        self.outcome: Outcome | None = None
        self.reports = False
        self.rebooted = asyncio.Event()
        self._folder = folder
        self._started_at = started_at
        self._tell = tell
        self._recall()

    def reach(self, stage: Stage, outcome: Outcome | None = None, *, reports: bool = False) -> None:
        """Remember what was learned, and tell; `reports` when the guest itself said so."""
        if (stage, outcome, reports) == (self.stage, self.outcome, self.reports):
            return
        self.stage, self.outcome, self.reports = stage, outcome, reports
        try:
            keep(self._folder, self.kept)
        except OSError as error:
            _LOG.warning("machine %s: its stage is forgotten at a restart: %s", self._folder.machine, error)
        self._tell()

    def know_host_key(self, public: str) -> None:
        """Keep what the guest says of the key of its SSH server, where the house has not given it one."""
        try:
            keep_told_host_key(self._folder.host_key, public)
        except OSError as error:
            _LOG.warning("machine %s: its host key is not known: %s", self._folder.machine, error)

    @property
    def kept(self) -> Kept:
        """What another run begins with that goes on from here."""
        return Kept(started_at=self._started_at, stage=self.stage, outcome=self.outcome, reports=self.reports)

    def reboot(self) -> None:
        """The guest was reset: it boots again."""
        self.rebooted.set()
        self.reach(Stage.RUNNING)

    def _recall(self) -> None:
        try:
            kept = msgspec.json.decode(self._folder.stage.read_bytes(), type=Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return
        if kept.started_at == self._started_at:
            self.stage, self.outcome, self.reports = kept.stage, kept.outcome, kept.reports


def keep(folder: Folder, kept: Kept) -> None:
    """Write down how far a run is."""
    write_whole(folder.stage, msgspec.json.encode(kept), lasting=False)


async def read_reports(folder: Folder, stages: Stages) -> None:
    """Take up what the guest writes to its report channel, until QEMU hangs up."""
    try:
        reader, writer = await asyncio.open_unix_connection(sock=folder.connect("report"))
    except OSError:
        return
    allowance = _Allowance()
    try:
        async for line in _lines(reader):
            await allowance.take()
            if key := told_host_key(line):
                stages.know_host_key(key)
            if (report := parse_report(line)) is not None:
                stages.reach(*report, reports=True)
    except ConnectionError:
        return
    finally:
        writer.close()


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines; one that is too long is dropped as it comes and costs no memory."""
    line, dropping = b"", False
    while chunk := await reader.read(LONGEST_REPORT_BYTES):
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            if not dropping:
                yield line + end
            line, dropping = b"", False
        line += rest
        if len(line) > LONGEST_REPORT_BYTES:
            line, dropping = b"", True


class _Allowance:
    """So many at once, then one every so often."""

    def __init__(self) -> None:
        self._left = float(_AT_ONCE)
        self._at = asyncio.get_running_loop().time()

    async def take(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(float(_AT_ONCE), self._left + (now - self._at) / _REFILL_S)
        self._at = now
        if self._left < 1:
            await asyncio.sleep((1 - self._left) * _REFILL_S)
        self._left -= 1
