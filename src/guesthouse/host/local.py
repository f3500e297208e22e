"""This box as a host: all its ports over one house, as long as the block lasts.

Leaving the block ends no machine: they run on, and the next `open_host` finds them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from guesthouse.decide.observed import Desired, Observed
from guesthouse.decide.steps import Step
from guesthouse.host import identity
from guesthouse.host.capabilities import Emulator
from guesthouse.host.console import Consoles
from guesthouse.host.dialling import LocalStreams, targets
from guesthouse.host.disks import DiskFiles, LocalDisks
from guesthouse.host.durable import keep_end
from guesthouse.host.facts import LocalFacts
from guesthouse.host.feed import Feed
from guesthouse.host.fence import fenced
from guesthouse.host.frozen.box import ThisBox
from guesthouse.host.frozen.pool import Pool
from guesthouse.host.guests import LocalGuestFiles, LocalGuests
from guesthouse.host.images import workroom
from guesthouse.host.images.shelf import ImageShelf
from guesthouse.host.keys import HouseKeyring
from guesthouse.host.kvm import Kvm
from guesthouse.host.machines.helping import Helpers
from guesthouse.host.machines.keeping import Keeper
from guesthouse.host.machines.observe import Observer
from guesthouse.host.machines.once import Once
from guesthouse.host.machines.reverting import Reverter
from guesthouse.host.machines.runs import Runs
from guesthouse.host.machines.settling import Settler
from guesthouse.host.machines.snapshotting import Snapshotter
from guesthouse.host.machines.starting import Starter
from guesthouse.host.machines.steps import Hands
from guesthouse.host.machines.wiring import Wiring
from guesthouse.host.networks.facts import LocalNetworkFacts
from guesthouse.host.networks.local import LocalNetworks, open_networks
from guesthouse.host.snapshots.shelf import SnapshotShelf
from guesthouse.host.templates.maker import Maker
from guesthouse.host.templates.shelf import TemplateShelf
from guesthouse.model.house import House
from guesthouse.ports import MetadataDoor, Progress

_LOG = logging.getLogger(__name__)
_LOG_LIMIT_BYTES, _LOG_KEPT_BYTES = 8 << 20, 1 << 20
_LOOK_AT_LOGS_S = 10.0
# The share of the host's memory in which templates and snapshots may be kept ready.
_POOL_SHARE = 8


class LocalMachines:
    """Implements `ports.MachineHost`."""

    def __init__(self, observer: Observer, hands: Hands, feed: Feed) -> None:
        self._observer = observer
        self._hands = hands
        self._feed = feed

    async def observe(self, desired: Desired) -> Observed:
        """Look at the machine's files and process; adopts a process that an earlier daemon left running."""
        return await self._observer.observe(desired)

    async def perform(self, step: Step, desired: Desired, progress: Progress) -> None:
        """Do one step; doing it again after it was killed half-way, or done, has the same result."""
        await self._hands.perform(step, desired, progress)

    def follow(self) -> AsyncIterator[str]:
        """Ids of machines in which something happens from this call on."""
        return self._feed.follow()


@dataclass(frozen=True)
class LocalHost:
    """The ports of this box, and what they share: the machines that run."""

    runs: Runs
    machines: LocalMachines
    guests: LocalGuests
    files: LocalGuestFiles
    streams: LocalStreams
    images: ImageShelf
    disks: LocalDisks
    templates: TemplateShelf
    networks: LocalNetworks
    network_facts: LocalNetworkFacts
    facts: LocalFacts
    keys: HouseKeyring


def _nothing(point: str) -> None:
    """Nobody tests this daemon."""


@contextlib.asynccontextmanager
async def open_host(
    house: House,
    *,
    binary: str = "qemu-system-x86_64",
    metadata: MetadataDoor | None = None,
    clock: Callable[[], float] = time.time,
    reached: Callable[[str], None] = _nothing,
    networks: bool = True,
) -> AsyncIterator[LocalHost]:
    """Open a house on this box. Whoever calls holds the house's lock: what is unfinished here is then nobody's.

    `binary` is the QEMU program, `metadata` answers machines on networks; `reached` is called between the parts of a
    start (`machines.starting.POINTS`) and of a snapshot (`machines.snapshotting.SNAPSHOT_POINTS`,
    `machines.settling.SETTLE_POINTS`). Without `networks` the house has none here.
    """
    identity.open_house(house)
    house.cache.mkdir(parents=True, exist_ok=True)
    _sweep(house)
    await workroom.sweep(house.images)
    async with (
        asyncio.TaskGroup() as tasks,
        fenced(house, tasks) as fence,
        open_networks(house, metadata=metadata, reached=reached, allowed=networks) as local_networks,
    ):
        feed, files, consoles = Feed(), DiskFiles(house), Consoles(tasks)
        runs = Runs(house.machines, tasks, feed, partial(targets, local_networks))
        emulator, kvm = Emulator(binary, house.cache), Kvm(binary, house.cache)
        box = ThisBox(emulator, kvm)
        pool = Pool(house, box, _memory_bytes() // _POOL_SHARE)
        shelf, once = SnapshotShelf(house, pool.budget_bytes), Once(house, files, box)
        helpers = Helpers(house, box)
        reverter = Reverter(files, shelf, box, pool, runs)
        wiring = Wiring(local_networks)
        starter = Starter(house, runs, files, emulator, kvm, pool, reverter, wiring, clock, reached)
        snapshotter = Snapshotter(runs, files, shelf, box, reverter, Keeper(helpers, pool), reached)
        settler = Settler(helpers, shelf, pool, reached)
        await helpers.sweep()
        hands = Hands(house, runs, files, starter, reverter, snapshotter, settler, shelf, pool)
        network_facts = LocalNetworkFacts(local_networks)
        background = [tasks.create_task(each) for each in (kvm.verdict(), pool.warm(), _look_at_logs(house, runs))]
        try:
            yield LocalHost(
                runs=runs,
                machines=LocalMachines(Observer(runs, files, shelf, wiring), hands, feed),
                guests=LocalGuests(runs, consoles),
                files=LocalGuestFiles(runs),
                streams=LocalStreams(local_networks),
                images=ImageShelf(house, once),
                disks=LocalDisks(files),
                templates=TemplateShelf(house, Maker(once), pool),
                networks=local_networks,
                network_facts=network_facts,
                facts=LocalFacts(house, emulator, kvm, fence, network_facts),
                keys=HouseKeyring(house.keys),
            )
        finally:
            for task in background:
                task.cancel()
            consoles.close()
            await runs.close()
            pool.close()


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _sweep(house: House) -> None:
    """Remove what a killed daemon had not finished, and no operation will look for."""
    for unfinished in house.disks.glob("*.partial"):
        unfinished.unlink()
    SnapshotShelf(house).sweep()


async def _look_at_logs(house: House, runs: Runs) -> None:
    """A guest may write to its console for ever, and a daemon live for years: their logs keep the end."""
    while True:
        _shorten(house.daemon_log)
        for run in runs.held:
            _shorten(run.folder.console_log)
            _shorten(run.folder.qemu_log)
        await asyncio.sleep(_LOOK_AT_LOGS_S)


def _shorten(log: Path) -> None:
    try:
        keep_end(log, _LOG_LIMIT_BYTES, _LOG_KEPT_BYTES)
    except OSError as error:
        _LOG.warning("%s cannot be shortened: %s", log, error)
