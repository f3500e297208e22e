"""NICs of this machine: found, set up, waited for.

Source: Linux's sysfs class "net"; `busybox udhcpc --help`.
"""

from __future__ import annotations

import os

from .guest import wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .guest import Guest
    from .netplan import Setup
    from .outcome import Outcome

_CLASS = "/sys/class/net"
_ETHERNET = "1"
_RESOLVERS = "/run/resolv.conf.d"
# Asks five times, a second apart, then goes on asking in the background: the machine must not wait for ever.
_DHCP = (
    "udhcpc",
    "-b",
    "-t",
    "5",
    "-T",
    "1",
    "-A",
    "10",
    "-s",
    "/usr/lib/guest/dhcp",
    "-O",
    "staticroutes",
    "-O",
    "mtu",
)


def nics(guest: Guest) -> dict[str, str]:
    """Ethernet NICs that are real devices: name → MAC."""
    return {
        name: guest.read(f"{_CLASS}/{name}/address").strip()
        for name in sorted(os.listdir(guest.path(_CLASS)))
        if guest.exists(f"{_CLASS}/{name}/device") and guest.read(f"{_CLASS}/{name}/type").strip() == _ETHERNET
    }


def before_up(setup: Setup) -> list[list[str]]:
    """The `ip` commands of one NIC, in order, before it is switched on."""
    lines: list[list[str]] = []
    if setup.name != setup.nic:
        lines += [["ip", "link", "set", setup.nic, "down"], ["ip", "link", "set", setup.nic, "name", setup.name]]
    if setup.mtu:
        lines.append(["ip", "link", "set", setup.name, "mtu", str(setup.mtu)])
    return lines


def after_up(setup: Setup) -> list[list[str]]:
    """The `ip` commands of one NIC, in order, after that."""
    lines = [["ip", "address", "replace", address, "dev", setup.name] for address in setup.addresses]
    for destination, gateway, metric in setup.routes:
        family = ["-6"] if ":" in gateway else []
        order = ["metric", str(metric)] if metric is not None else []
        lines.append(["ip", *family, "route", "replace", destination, "via", gateway, "dev", setup.name, *order])
    return lines


class Network:
    """Sets NICs up; those that ask a DHCP server do it all at the same time."""

    def __init__(self, guest: Guest, outcome: Outcome) -> None:
        self.guest = guest
        self.outcome = outcome
        self._asking: list[int] = []

    def start(self, setups: Sequence[Setup], hostname: str) -> None:
        """Apply fixed settings and begin to ask DHCP servers, telling them our name."""
        self._up("lo")
        for setup in setups:
            for line in before_up(setup):
                self._run(line)
            self._up(setup.name)
            for line in after_up(setup):
                self._run(line)
            self._resolver(setup)
        # From here on the askers write the list of name servers.
        for setup in setups:
            if setup.dhcp:
                name = ["-x", f"hostname:{hostname}"] if hostname else []
                self._asking.append(self.guest.spawn([*_DHCP, "-i", setup.name, *name]))

    def wait_for_one(self) -> None:
        """Wait until the first asker has its lease or has given up for now."""
        if self._asking:
            process, _ = os.waitpid(-1, 0)
            self._asking = [asker for asker in self._asking if asker != process]

    def wait_for_all(self) -> None:
        """Wait until every asker has its lease or has given up for now."""
        for asker in self._asking:
            wait(asker)
        self._asking = []

    def _up(self, nic: str) -> None:
        try:
            self.guest.link_up(nic)
        except OSError as error:
            self.outcome.fail("network-config", f"{nic} cannot be switched on: {error.strerror}")

    def _run(self, argv: list[str]) -> None:
        status, said = self.guest.run(argv)
        if status:
            self.outcome.fail("network-config", f"{' '.join(argv)}: {said.decode(errors='replace').strip()}")

    def _resolver(self, setup: Setup) -> None:
        if not setup.nameservers and not setup.search:
            return
        lines = [f"search {' '.join(setup.search)}"] if setup.search else []
        lines += [f"nameserver {server}" for server in setup.nameservers]
        text = "".join(f"{line}\n" for line in lines).encode()
        self.guest.write(f"{_RESOLVERS}/{setup.name}", text)
        self.guest.write("/etc/resolv.conf", text, append=True)
