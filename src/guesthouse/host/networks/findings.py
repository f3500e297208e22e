"""What of networks this box can have, and why not: the part of ``guest host check`` that is about them.

Rules
-----
1. What can be tried is tried, in a namespace that is gone afterwards; nothing of the host is changed for a look.
2. A finding says what is lost without it: networks as a whole, groups, the way out, names of the outside.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.host.machines.process import PROGRAMS
from guesthouse.host.networks import layout, nameserver, selftest, taps
from guesthouse.host.networks.namespace import FOLDER, Namespace, read_sysctl
from guesthouse.host.networks.resolver import resolver_file
from guesthouse.host.processes import run
from guesthouse.model.errors import GuesthouseError
from guesthouse.ports import Finding

OK, WARNING = "ok", "warning"
_USER_MODE = "machines have user-mode networks alone"
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Needed:
    """A program without which there are no networks, and its package."""

    name: str
    package: str


NEEDED = (
    Needed("ip", "iproute2"),
    Needed("nft", "nftables"),
    Needed("dnsmasq", "dnsmasq-base"),
    Needed("nsenter", "util-linux"),
    Needed("setpriv", "util-linux"),
)


async def check(table: str) -> list[Finding]:
    """How networks stand on this box; `table` is the house's own, as nft names it."""
    if (refused := await refusal()) is not None:
        return [refused]
    return [finding for each in _CHECKS for finding in await each(table)]


async def refusal() -> Finding | None:
    """Why there can be no networks at all; None where there can."""
    if lacking := [each for each in NEEDED if shutil.which(each.name, path=PROGRAMS) is None]:
        names, packages = ", ".join(each.name for each in lacking), " ".join(sorted({each.package for each in lacking}))
        return Finding("networks", WARNING, f"not installed: {names}; {_USER_MODE}", f"apt install {packages}")
    try:
        nameserver.refuse_where_none_can_run()
    except GuesthouseError as error:
        return Finding("networks", WARNING, f"{_USER_MODE}: {error}", error.hint)
    if not Path(taps.TUN).exists():
        return Finding("networks", WARNING, f"there is no {taps.TUN}: {_USER_MODE}", "load the kernel module tun")
    trial = Namespace(f"gh-check-{os.getpid()}")
    try:
        try:
            await trial.make()
            await trial.run("ip", "link", "set", "lo", "up")
        finally:
            await trial.remove()
    except (GuesthouseError, OSError) as error:
        reason = str(error).splitlines()[-1].strip()
        mends = (
            f"a writable {FOLDER} and the capabilities CAP_NET_ADMIN and CAP_SYS_ADMIN" if not os.geteuid() else "root"
        )
        return Finding("networks", WARNING, f"{_USER_MODE}: {reason}", f"give the daemon {mends}")
    return None


async def _networks(table: str) -> list[Finding]:
    vhost = "with" if Path(taps.VHOST).exists() else "without"
    return [Finding("networks", OK, f"namespaces of their own, {vhost} vhost-net")]


async def _groups(table: str) -> list[Finding]:
    try:
        passed = await selftest.wrongly_passed()
    except (GuesthouseError, OSError) as error:
        return [Finding("groups", WARNING, f"it cannot be tried whether they hold: {error}", "see whether `nft` works")]
    if not passed:
        return [Finding("groups", OK, "rules that remember connections hold on bridges: tried with frames")]
    found = f"refused, for they would not hold: {passed} passed a bridge against its rules"
    return [Finding("groups", WARNING, found, "load the kernel module br_netfilter")]


async def _forwarding(table: str) -> list[Finding]:
    forwards = read_sysctl(layout.FORWARDING) == "1"
    told = "this host forwards" if forwards else "not yet: a network that goes out switches net.ipv4.ip_forward on"
    found = [Finding("way out", OK, told)]
    droppers = await _droppers(table)
    if droppers:
        exceptions = 'nft insert rule {0} iifname "gh*" accept; nft insert rule {0} oifname "gh*" accept'
        reason = f"{', '.join(droppers)} drops what it does not know, and with it all that networks send"
        found = [Finding("way out", WARNING, reason, exceptions.format(droppers[0]))]
    if read_sysctl(layout.FORWARDING6) == "0":
        reason = "this host does not forward IPv6: networks with IPv6 reach nobody outside by it"
        mends = "sysctl net.ipv6.conf.all.forwarding=1, and accept_ra=2 on links that learn their way out"
        found.append(Finding("way out by IPv6", WARNING, reason, mends))
    return found


async def _droppers(table: str) -> list[str]:
    """Chains of others on the way through this host that drop by policy, as nft names them."""
    listed = msgspec.json.decode(await run(["nft", "-j", "list", "chains"], timeout_s=_TIMEOUT_S))
    chains: list[dict[str, Any]] = [row["chain"] for row in listed["nftables"] if "chain" in row]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and f"{chain['family']} {chain['table']}" != table
    ]


async def _names(table: str) -> list[Finding]:
    if path := resolver_file():
        return [Finding("names", OK, f"networks ask the name servers in {path}")]
    found = "this host's name server answers itself alone: machines have their own names, none of the outside"
    return [Finding("names", WARNING, found, "name one in /etc/resolv.conf that is not at a loopback address")]


_CHECKS: Sequence[Callable[[str], Awaitable[list[Finding]]]] = (_networks, _groups, _forwarding, _names)
