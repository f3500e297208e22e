"""The gate: where a machine is frozen as a template, and where each of its forks goes on.

Rules
-----
1. Before the gate nothing is made that a machine has for itself: no name, key or address, and no connection, at
   whose first the kernel draws the secrets of its TCP.
2. What is in the frozen memory is the same in every fork. Randomness is therefore the first thing behind the
   gate, before any program is started; then the clock, which stood still.
3. A fork's time counts and a template's does not: what can be loaded before the gate is, and the processes that
   start beside us come first.
4. Waiting costs nothing: the kernel wakes us.
5. All forks of a template share what no program can change: boot_id, the uuid in the tables of the firmware, and
   where the kernel and the processes that waited with us lie in memory.
6. Devices have the names that they would have after a boot (`plugged`).
7. What is free at the gate is zeros: the host keeps no page of zeros, and each template costs it what is in use.
8. What is plugged at the gate is ours. Who handles plugged devices otherwise (`hotplug`) stands back until the
   machine is configured, and then leaves our NICs alone.
"""

from __future__ import annotations

import gc
import os
import sys

from . import entropy, netplan, plugged, sources
from .network import nics

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .guest import Guest
    from .outcome import Outcome
    from .sources import Seed
    from .uevents import Uevents

FIFO = "/run/guest/gate"
MARKS = "/run/guest/nics"
_SERIAL = "seed"
_LEFT_FREE_KIB = 8 * 1024  # for others, who would otherwise be made to give back what they need
_AT_ONCE_KIB = 4 * 1024
_MUCH_KIB = 256 * 1024
# What `configure` imports only where it needs it.
_IMPORTED_LATE = ("email.iterators", "email.message", "email.parser", "ipaddress", "traceback", "yaml", "zlib")


class Gate:
    """The gate of a template's boot; `uevents` are the kernel's. A NIC may come so long after another."""

    def __init__(self, guest: Guest, uevents: Uevents, nic_timeout_s: float = 10.0) -> None:
        self.guest = guest
        self._uevents = uevents
        self._nic_timeout_s = nic_timeout_s
        self._held: int | None = None

    def wait(self, outcome: Outcome) -> None:
        """Get ready, tell the host, and be frozen here. Returns in a fork that is like no other."""
        self.guest.stand_back(True)
        self._warm_up()
        self._clean_up()
        self.guest.stand_back(False)
        self._hold_others()
        self._uevents.forget()  # those of the drivers, which every fork would have to go through
        devices = plugged.Plugged(self.guest)
        asks = sources.wants_ec2(self.guest)
        outcome.at_gate()
        # Who is to ask for its configuration has no seed: its NICs, all plugged at once, are what it goes on with.
        while not (devices.whole if asks else self._has_seed()):
            self._uevents.wait("block", *plugged.SUBSYSTEMS)
            devices.let_in()
        devices.let_go()
        entropy.reseed(self.guest, entropy.FETCHED_BEFORE_BYTES)
        if "random" in sys.modules:
            sys.modules["random"].seed()
        self.guest.catch_up()

    def take(self, seed: Seed | None) -> dict[str, str]:
        """Mix in the seed's own randomness and wait for the NICs that it names; those that are there, as `nics`."""
        if seed is not None and seed.random:
            self.guest.add_entropy(seed.random, len(seed.random))
        wanted = _wanted(seed) if seed is not None else set()
        while not wanted <= {mac.lower() for mac in nics(self.guest).values()}:
            if not self._uevents.wait("net", timeout_s=self._nic_timeout_s):
                break  # what is missing then is said where it is used
        ours = nics(self.guest)
        for nic in ours:
            self.guest.write(f"{MARKS}/{nic}", b"")
        return ours

    def leave(self) -> None:
        """Let `hotplug` go on with what came meanwhile."""
        if self._held is not None:
            os.unlink(self.guest.path(FIFO))
            os.close(self._held)

    def _warm_up(self) -> None:
        """Load what a fork would have to: drivers of whatever may be plugged, modules that are imported late."""
        drivers = self.guest.read(f"/lib/modules/{os.uname().release}/modules.dep").splitlines()
        names = [os.path.basename(line.partition(":")[0]).partition(".")[0] for line in drivers]
        self.guest.run(["modprobe", "-a", "-q", *names])
        for name in _IMPORTED_LATE:
            __import__(name)
        # What is there by now stays: no fork need look through it, and copy it by doing so.
        gc.collect()
        gc.freeze()

    def _clean_up(self) -> None:
        """Leave zeros in what is free; where that is much, most of it was never touched."""
        zeros = []
        while _LEFT_FREE_KIB < (free_kib := self._free_kib()) < _MUCH_KIB:
            # Not bytes(n), whose pages the kernel has not touched.
            zeros.append(bytearray(1) * (min(free_kib - _LEFT_FREE_KIB, _AT_ONCE_KIB) << 10))
        del zeros

    def _free_kib(self) -> int:
        lines = self.guest.read("/proc/meminfo").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("MemFree:")), 0)

    def _hold_others(self) -> None:
        """A reader of the FIFO gets nothing while somebody could write, and is let go when nobody can any more."""
        self.guest.folder(MARKS)
        os.mkfifo(self.guest.path(FIFO), 0o600)
        self._held = os.open(self.guest.path(FIFO), os.O_RDWR | os.O_CLOEXEC)

    def _has_seed(self) -> bool:
        disks = "/sys/class/block"
        return any(
            self.guest.read(f"{disks}/{name}/serial").strip() == _SERIAL for name in os.listdir(self.guest.path(disks))
        )


def _wanted(seed: Seed) -> set[str]:
    """The MAC addresses that the seed names: in its network-config, and those that the house has plugged."""
    told = seed.metadata.get("nics")
    plugged = told if isinstance(told, list) else []
    return netplan.macs(seed.network) | {str(mac).lower() for mac in plugged}
