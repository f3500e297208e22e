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
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from guesthouse.host.machines.process import PROGRAMS
from guesthouse.host.networks import layout, limits, selftest, taps
from guesthouse.host.networks.namespace import FOLDER, HOST, Ground, Namespace, read_sysctl
from guesthouse.model.errors import GuesthouseError
from guesthouse.ports import Finding

OK, WARNING = "ok", "warning"
_USER_MODE = "machines have user-mode networks alone"
_NOT_FOR_EVER = "  # until that program starts anew: its own configuration should have it too"
_EXCEPTIONS = 'nft insert rule {0} iifname "gh*" accept; nft insert rule {0} oifname "gh*" accept'
_FULL_PERCENT = 80


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


def none_at_all(reason: str, fix: str) -> Finding:
    """That there can be no networks, why, and what mends it."""
    return Finding("networks", WARNING, f"{_USER_MODE}: {reason}", fix)


SWITCHED_OFF = none_at_all("switched off", "start the daemon without --no-networks")


async def check(table: str, ground: Ground = HOST) -> list[Finding]:
    """How networks stand on this box; `table` is the house's own, as nft names it, and `ground` where they stand."""
    if (refused := await refusal(ground)) is not None:
        return [refused]
    return [finding for each in _CHECKS for finding in await each(table, ground)]


async def refusal(ground: Ground = HOST) -> Finding | None:
    """Why there can be no networks at all; None where there can."""
    if (lacking := what_lacks()) is not None:
        return lacking
    if not Path(taps.TUN).exists():
        return none_at_all(f"there is no {taps.TUN}", "load the kernel module tun")
    trial = Namespace(f"gh-check-{os.getpid()}", ground)
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
        return none_at_all(reason, f"give the daemon {mends}")
    if not os.access(taps.TUN, os.R_OK | os.W_OK):
        return none_at_all(f"{taps.TUN} is not for this user", f"chmod 666 {taps.TUN}")
    return None


def what_lacks() -> Finding | None:
    """The programs that are not here, without which there are no networks; None where all are."""
    lacking = [each for each in NEEDED if shutil.which(each.name, path=PROGRAMS) is None]
    if not lacking:
        return None
    names, packages = ", ".join(each.name for each in lacking), " ".join(sorted({each.package for each in lacking}))
    return Finding("networks", WARNING, f"not installed: {names}; {_USER_MODE}", f"apt install {packages}")


_OUTLET = Finding("way out", OK, "by slirp4netns, as this user; no IPv6, no elastic addresses from outside")


def _no_outlet(ground: Ground) -> Finding:
    reason = ground.closed.splitlines()[0]
    found = f"networks reach nobody outside, and have no forwarded ports: {reason}"
    return Finding("way out", WARNING, found, ground.opens)


async def _networks(table: str, ground: Ground) -> list[Finding]:
    vhost = "with" if Path(taps.VHOST).exists() else "without"
    where = (
        ", in a user namespace: this host reaches them by forwarded ports and `guest tunnel`" if ground.is_own else ""
    )
    return [Finding("networks", OK, f"namespaces of their own, {vhost} vhost-net{where}")]


async def _groups(table: str, ground: Ground) -> list[Finding]:
    try:
        passed = await selftest.wrongly_passed(ground)
    except (GuesthouseError, OSError) as error:
        return [Finding("groups", WARNING, f"it cannot be tried whether they hold: {error}", "see whether `nft` works")]
    if not passed:
        return [Finding("groups", OK, "their rules hold: tried with frames on a bridge made for that")]
    found = f"refused, for they would not hold: {passed} passed a bridge against its rules"
    return [Finding("groups", WARNING, found, "load the kernel module br_netfilter")]


async def _forwarding(table: str, ground: Ground) -> list[Finding]:
    if ground.is_own:
        return [_OUTLET if not ground.closed else _no_outlet(ground)]
    forwards = read_sysctl(layout.FORWARDING) == "1"
    told = "this host forwards" if forwards else "not yet: a network that goes out switches net.ipv4.ip_forward on"
    found = [Finding("way out", OK, told)]
    droppers = await _droppers(table, ground)
    if droppers:
        reason = f"other programs drop what machines send beyond this host, in {' and '.join(droppers)}"
        mends = "; ".join(_EXCEPTIONS.format(chain) for chain in droppers) + _NOT_FOR_EVER
        found = [Finding("way out", WARNING, reason, mends)]
    if read_sysctl(layout.FORWARDING6) == "0":
        reason = "this host does not forward IPv6: networks that have it reach nobody outside by it"
        # In this order: a host that forwards forgets what routers have told it, where it is not to listen to them.
        mends = "sysctl net.ipv6.conf.LINK.accept_ra=2 net.ipv6.conf.all.forwarding=1  # LINK: the host's way out"
        found.append(Finding("way out by IPv6", WARNING, reason, mends))
    return found


async def _droppers(table: str, ground: Ground) -> list[str]:
    """Chains of others on the way through this host that drop by policy, as nft names them."""
    listed = msgspec.json.decode(await ground.run("nft", "-j", "list", "chains"))
    chains: list[dict[str, Any]] = [row["chain"] for row in listed["nftables"] if "chain" in row]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and f"{chain['family']} {chain['table']}" != table
    ]


async def _names(table: str, ground: Ground) -> list[Finding]:
    if ground.closed:
        return []  # without a way out there are no names of the outside either
    if path := ground.resolver():
        return [Finding("names", OK, f"networks ask the name servers in {path}")]
    found = "this host's name server answers itself alone: machines have their own names, none of the outside"
    return [Finding("names", WARNING, found, "name one in /etc/resolv.conf that is not at a loopback address")]


async def _connections(table: str, ground: Ground) -> list[Finding]:
    # On the ground where networks stand: a user's has a table of its own.
    most, now = (int(ground.visit(partial(read_sysctl, name)) or 0) for name in (limits.TABLE_SIZE, limits.TABLE_FILL))
    return [connections(most, now)]


def connections(most: int, now: int) -> Finding:
    """How this host's table of connections stands, of which it has `now`; `most` is 0 where it may grow without end."""
    if not most:
        return Finding("connections", OK, "this host remembers any number of them; a NIC may begin any number")
    told = f"{now} of the {most} that this host can remember; a NIC may begin {limits.connections(most)} at a time"
    if now * 100 < most * _FULL_PERCENT:
        return Finding("connections", OK, told)
    mends = f"sysctl net.netfilter.nf_conntrack_max={2 * most}"
    return Finding("connections", WARNING, f"{told}: new ones will soon fail", mends)


_CHECKS: Sequence[Callable[[str, Ground], Awaitable[list[Finding]]]] = (
    _networks,
    _groups,
    _forwarding,
    _connections,
    _names,
)
