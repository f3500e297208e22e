"""To what of the host a network in mode ``bridge`` is cabled.

Rules
-----
1. A bridge that is there is used as it is, and gets one more port.
2. Over a plain interface a bridge of our own is made, but only over one that the host itself does not use: with the
   interface in a bridge, what the host has on it, addresses and routes, would no longer work.
3. What cannot carry the frames of other stations, or is a part of something else, is refused, with the way that works.

Source: linux/netdevice.h, IFF_DONT_BRIDGE; a Wi-Fi station sends from one MAC address alone (IEEE 802.11, three
addresses in a frame); sysfs shows ``phy80211`` for a Wi-Fi interface.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from guesthouse.formats import iproute, links
from guesthouse.formats.iproute import Link, LinkWanted
from guesthouse.model.errors import Conflict
from guesthouse.model.network import Network

_SYSFS = Path("/sys/class/net")
_WIRELESS = ("phy80211", "wireless")
_MAKE_A_BRIDGE = (
    "make a bridge in the host's own network configuration, move the addresses of {0} to it, "
    "and name that bridge in place of {0}"
)


class Cable(NamedTuple):
    """The bridge of the host, how long its frames are, and the links that make it where it is ours."""

    bridge: str
    mtu: int
    links: tuple[LinkWanted, ...] = ()


def plug(network: Network, tag: str, seen: Mapping[str, Link], sysfs: Path = _SYSFS) -> Cable:
    """The cable of a network; raises `Conflict`, with the reason, where its link cannot have one."""
    name, own = network.link, links.own_bridge(tag, network.number)
    link = seen.get(name)
    for reason, hint in _reasons(name, link, own, sysfs):
        raise Conflict(reason, subject=f"network {network.name}", field="link", value=name, hint=hint)
    assert link is not None
    mtu = network.mtu or link.mtu
    if link.linkinfo.info_kind == "bridge":
        return Cable(name, mtu)
    bridge = LinkWanted(name=own, mtu=mtu, make=iproute.bridge(own, ""))
    return Cable(own, mtu, (bridge, LinkWanted(name=name, mtu=link.mtu, master=own)))


def _reasons(name: str, link: Link | None, own: str, sysfs: Path) -> Iterator[tuple[str, str]]:
    """Why the link cannot be used, the plainest reason first."""
    if link is None:
        yield f"this host has no link {name}", "`ip link` lists the links that it has"
        return
    if any((sysfs / name / mark).exists() for mark in _WIRELESS):
        yield (
            f"{name} is Wi-Fi, which carries frames of its own MAC address alone",
            "take a wired interface, or mode nat",
        )
    if link.link_type != "ether":
        yield f"{name} carries no Ethernet frames", "take a wired interface or a bridge, or mode nat"
    if link.linkinfo.info_kind == "bridge":
        return
    if link.master and link.master != own:
        yield f"{name} is a part of {link.master}", f"name {link.master} in its place"
    if link.addresses:
        held = ", ".join(sorted(link.addresses))
        yield f"the host itself has {held} on {name}, and would be cut off", _MAKE_A_BRIDGE.format(name)
