"""What passes the ports of a network: the judgement of groups, which remembers connections.

Rules
-----
1. A group is two chains, what it lets out and what it lets in, and two sets of its members' addresses. A distinct set
   of groups is two chains that jump into those of its groups, and drop what comes back. A port is map elements alone.
2. What leaves is judged as soon as its connection is known, by the mark of the port that sent it: whatever address it
   sends from. What arrives is judged when it is forwarded: on a bridge by the mark of the port that gets it, whatever
   address it is sent to; through the gateway by address.
3. What belongs to a connection that was let through passes, and what tells of its failure.
4. Neighbour discovery and multicast listening pass: the guards have judged them. So do DHCP, DNS, the metadata service
   and pings of the gateway: without them a machine is nothing.
5. A port begins so many connections, and no more until one of them has ended: the kernel's table of them is
   everybody's. All that it sends is counted, what is for the gateway too. What others begin is theirs.

Source: nft(8) on connlimit; the kernel does not track neighbour discovery (net/ipv6/netfilter, nf_conntrack_icmpv6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from guesthouse.formats.netfilter.guards import ARRIVING, addresses6
from guesthouse.formats.netfilter.ruleset import Chain, Element, Part, Store
from guesthouse.model.judgement import Allow, allows
from guesthouse.model.network import Direction, Group, Port, Protocol

TABLE = "inet guesthouse"
KNOWN = "ct state vmap { established : accept, related : accept, invalid : drop }"
NEIGHBOURS = (
    "ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept",
    "ip6 daddr ff02::/16 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept",
)
"""On one link only: what a router passes on has a lower hop limit, and is not sent to all."""

_WORDS = {Direction.OUT: ("out", "egress", "daddr"), Direction.IN: ("in", "ingress", "saddr")}
_ICMP = {Protocol.ICMP: "icmp", Protocol.ICMP6: "icmpv6"}
_FAMILIES = {4: ("ip", "ipv4"), 6: ("ip6", "ipv6")}

STORES = (
    Store(TABLE, "map", "egress", "type mark : verdict"),
    Store(TABLE, "map", "arriving", "type mark : verdict"),
    Store(TABLE, "map", "ingress4", "type ipv4_addr : verdict"),
    Store(TABLE, "map", "ingress6", "type ipv6_addr : verdict"),
    Store(TABLE, "set", "connections", "type mark; size 65535; flags dynamic"),
)
ARRIVING_HERE = ("meta mark vmap @arriving",)
THROUGH_THE_GATEWAY = ("ip daddr vmap @ingress4", "ip6 daddr vmap @ingress6")


def leaving(connections: int) -> tuple[str, ...]:
    """What is judged of what a machine sends; `connections` is how many a port may have begun, 0 for any number."""
    # Confirmed is what has passed once: a flow without an answer stays new, and is not to be counted again.
    first = "meta mark != 0 ct state new ct status & confirmed == 0"
    count = f"{first} add @connections {{ meta mark ct count over {connections} }} drop"
    return (KNOWN, *NEIGHBOURS, *((count,) if connections else ()), "jump services", "meta mark vmap @egress")


def of_group(group: Group, known: frozenset[str]) -> Part:
    """A group's chains and sets; `known` are the ids of the network's groups: any other has no member here."""
    stores = tuple(Store(TABLE, "set", f"members{v}-{group.id}", f"type ipv{v}_addr") for v in _FAMILIES)
    return Part(stores, tuple(_group_chain(group, direction, known) for direction in _WORDS))


def _group_chain(group: Group, direction: Direction, known: frozenset[str]) -> Chain:
    lines = (line for line in allows(group, direction) if not line.group or line.group in known)
    return Chain(TABLE, f"{_WORDS[direction][0]}-{group.id}", tuple(_rule(line, direction) for line in lines))


def _rule(line: Allow, direction: Direction) -> str:
    parts = (_others(line, _WORDS[direction][2]), _protocol(line), "accept")
    return " ".join(part for part in parts if part)


def _others(line: Allow, side: str) -> str:
    word, family = _FAMILIES[line.version]
    if line.group:
        return f"{word} {side} @members{line.version}-{line.group}"
    # All of a version is a test of the version: nft makes nonsense of a prefix of no bits.
    return f"meta nfproto {family}" if line.cidr.endswith("/0") else f"{word} {side} {line.cidr}"


def _protocol(line: Allow) -> str:
    if line.protocol is Protocol.ANY:
        return ""
    if name := _ICMP.get(line.protocol):
        kind = f"{name} type {line.first}" if line.first >= 0 else f"meta l4proto {name}"
        return f"{kind} {name} code {line.last}" if line.last >= 0 else kind
    if line.first == line.last == 0:
        return f"meta l4proto {line.protocol}"
    return f"{line.protocol} dport {line.first}" + (f"-{line.last}" if line.last != line.first else "")


def of_groups(groups: tuple[str, ...], known: frozenset[str]) -> Part:
    """The chains of one distinct set of groups, of ids in order; of a group that is not `known` nothing passes."""
    jumps = {
        word: tuple(f"jump {word}-{group}" for group in groups if group in known) for word, _, _ in _WORDS.values()
    }
    return Part(
        chains=tuple(
            Chain(TABLE, f"{name}-{_digest(groups)}", (*jumps[word], "drop")) for word, name, _ in _WORDS.values()
        )
    )


def groups_of(port: Port) -> tuple[str, ...]:
    """The ids of a port's groups, each once, in order."""
    return tuple(sorted(set(port.groups)))


def of_port(port: Port, known: frozenset[str]) -> Iterator[Element]:
    """Where a port is judged, and in which groups it is a member."""
    groups = groups_of(port)
    let_in = f"goto ingress-{_digest(groups)}" if groups else "accept"
    if groups:
        yield Element(TABLE, "egress", f"{port.number:#010x}", f"goto egress-{_digest(groups)}")
    yield Element(TABLE, "arriving", f"{ARRIVING | port.number:#010x}", let_in)
    for version, addresses in ((4, (port.address,) if port.address else ()), (6, addresses6(port))):
        for address in addresses:
            yield Element(TABLE, f"ingress{version}", address, let_in)
            for group in groups:
                if group in known:
                    yield Element(TABLE, f"members{version}-{group}", address)


def _digest(groups: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(groups).encode()).hexdigest()[:16]
