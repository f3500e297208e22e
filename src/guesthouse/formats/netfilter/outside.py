"""The rules on the host itself: a house's one table, which judges what passes the links of its networks.

Rules
-----
1. It touches its own links alone. Every chain accepts what is not of them: other programs' rules stay theirs.
2. Into a network leads a forwarded port, an elastic address, an answer; nothing else. The host itself reaches networks
   of the modes ``nat`` and ``host-only``: what it sends is not forwarded.
3. Networks do not see each other; what one offers to the outside, the others reach as the outside does.
4. A ``host-only`` network reaches the host alone, a ``private`` one everybody but the host.
5. What a network sends carries its own end's address, or an elastic one; outside it carries the host's, or that.
6. A forwarded port is one of all addresses of the host, for the host too. For 127.0.0.1 the link must take loopback
   addresses (``route_localnet``); what comes from a link to such an address is dropped, so that it opens nothing.
   ::1 has no such thing.

Source: nft(8). Accepting in one table does not undo a drop in another: where another program drops what it forwards by
policy, as Docker does, its own exceptions have to name our links.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from guesthouse.formats import links, nftables
from guesthouse.formats.netfilter import ruleset
from guesthouse.formats.netfilter.ruleset import Chain, Element, Part, Store
from guesthouse.model.network import NetworkMode, NetworkWanted

_LINKS = (
    ("links", (NetworkMode.NAT, NetworkMode.HOST_ONLY, NetworkMode.PRIVATE)),
    ("host_only", (NetworkMode.HOST_ONLY,)),
    ("private", (NetworkMode.PRIVATE,)),
)
_JUDGEMENT = (
    "ct state established,related accept",
    "iifname @host_only drop",
    "oifname @host_only drop",
    "oifname != @links accept",
    "ct status & dnat == dnat accept",
    "ip daddr @elastic4 accept",
    "ip6 daddr @elastic6 accept",
    "drop",
)
_CHAINS = (
    ("judgement", "", _JUDGEMENT),
    (
        "raw",
        "type filter hook prerouting priority raw; policy accept;",
        ("iifname @links ip daddr 127.0.0.0/8 drop",),
    ),
    (
        "input",
        "type filter hook input priority filter; policy accept;",
        (
            "iifname != @private accept",
            "ct state established,related accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            "drop",
        ),
    ),
    (
        "forward",
        "type filter hook forward priority filter; policy accept;",
        ("iifname @links goto judgement", "oifname @links goto judgement"),
    ),
    (
        "dstnat",
        "type nat hook prerouting priority dstnat; policy accept;",
        ("iifname @host_only accept", "fib daddr type local jump forwards"),
    ),
    ("output", "type nat hook output priority -100; policy accept;", ("fib daddr type local jump forwards",)),
    (
        "srcnat",
        "type nat hook postrouting priority srcnat; policy accept;",
        (
            "iifname @links ip saddr @elastic4 accept",
            "iifname @links ip6 saddr @elastic6 accept",
            "iifname @links masquerade",
            "oifname @links ip saddr 127.0.0.0/8 masquerade",
        ),
    ),
)
_FORWARDS = (
    "dnat ip to meta l4proto . th dport map @forwards4",
    "dnat ip6 to meta l4proto . th dport map @forwards6",
)


def table_of(home: Path) -> str:
    """The table of the networks of the house in this folder, as nft names it: family and name."""
    return f"{nftables.table_of(home)}_networks"


def outside(table: str, tag: str, networks: Sequence[NetworkWanted]) -> str:
    """The text that makes `table` for these networks, whatever there was; `tag` is the house's."""
    # While a NIC moves, two networks may have its forwarded port for a moment.
    elements = {(each.name, each.key): each for wanted in networks for each in _of_network(table, tag, wanted)}
    return ruleset.whole((table,), [Part(tuple(_stores(table)), tuple(_chains(table)), tuple(elements.values()))])


def _stores(table: str) -> Iterator[Store]:
    for name, _ in _LINKS:
        yield Store(table, "set", name, "type ifname")
    for version in (4, 6):
        yield Store(table, "set", f"elastic{version}", f"type ipv{version}_addr")
        yield Store(table, "map", f"forwards{version}", f"type inet_proto . inet_service : ipv{version}_addr")


def _chains(table: str) -> Iterator[Chain]:
    yield Chain(table, "forwards", _FORWARDS)
    for name, hook, rules in _CHAINS:
        yield Chain(table, name, rules, hook)


def _of_network(table: str, tag: str, wanted: NetworkWanted) -> Iterator[Element]:
    mode, number = wanted.network.mode, wanted.network.number
    for name, modes in _LINKS:
        if mode in modes:
            yield Element(table, name, f'"{links.link(tag, number)}"')
    ends = links.transit(tag, number)
    for port in wanted.ports if mode in (NetworkMode.NAT, NetworkMode.PRIVATE) else ():
        if port.elastic:
            yield Element(table, f"elastic{ip_address(port.elastic).version}", port.elastic)
        for forward in port.forwards if mode is NetworkMode.NAT else ():
            key = f"{forward.protocol} . {forward.host_port}"
            if port.port.address:
                yield Element(table, "forwards4", key, ends.network)
            if port.port.address6:
                yield Element(table, "forwards6", key, ends.network6)
