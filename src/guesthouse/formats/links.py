"""Names and addresses of a network's links, as functions of the house's tag and of numbers: nothing is looked up.

Rules
-----
1. What a house makes on its host begins with ``gh`` and its tag; what is in the namespace of a network is named by
   what it is, for nobody else is there.
2. A name fits an interface's 15 characters (linux/if.h: IFNAMSIZ 16 with the final zero).
3. Both ends of a network's transit link have addresses of their own out of 100.64.0.0/10 and of a local IPv6 /64
   (RFC 6598, RFC 4193); houses begin at different places, so that two on one host rarely meet.
4. The gateway of a subnet has the same MAC address everywhere: a machine that moves finds its gateway as it was.

Source: RFC 3021 and RFC 6164 for links of two addresses, RFC 4291 appendix A for link-local addresses from MACs.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import NamedTuple

UPLINK = "up0"
"""The network's own end of its transit link."""

_TRANSIT = int(IPv4Address("100.64.0.0"))
_TRANSIT_PAIRS = 1 << 21
_PAIRS_BETWEEN_HOUSES = 32
_LINK_LOCAL = int(IPv6Address("fe80::"))


class Transit(NamedTuple):
    """The addresses of a transit link: the host's end and the network's, and how long the prefixes are."""

    host: str
    network: str
    host6: str
    network6: str
    prefix: int = 31
    prefix6: int = 127


def tag_of(home: Path) -> str:
    """The tag of the house in this folder: four hexadecimal digits."""
    return hashlib.sha256(bytes(home)).hexdigest()[:4]


def link(tag: str, network: int) -> str:
    """The host's end of a network's transit link."""
    return f"gh{tag}-{network}"


def namespace(tag: str, network: int) -> str:
    """The network's namespace, as ip-netns(8) names it."""
    return f"gh{tag}-{network}"


def bridge(subnet: int) -> str:
    return f"br{subnet}"


def tap(port: int) -> str:
    return f"tap{port}"


def transit(tag: str, network: int) -> Transit:
    """The addresses of a network's transit link; two networks of a house never have the same, up to two millions."""
    pair = (int(tag, 16) * _PAIRS_BETWEEN_HOUSES + network) % _TRANSIT_PAIRS
    first = _TRANSIT + 2 * pair
    house = int.from_bytes(b"\xfd" + hashlib.sha256(tag.encode()).digest()[:5], "big") << 80
    first6 = house + 2 * network
    return Transit(
        host=str(IPv4Address(first)),
        network=str(IPv4Address(first + 1)),
        host6=str(IPv6Address(first6)),
        network6=str(IPv6Address(first6 + 1)),
    )


def gateway_mac(subnet: int) -> str:
    """The MAC address of a subnet's gateway: locally administered, and none that a NIC is given."""
    return ":".join(f"{byte:02x}" for byte in b"\x02gh" + (subnet % (1 << 24)).to_bytes(3, "big"))


def link_local(mac: str) -> str:
    """The link-local IPv6 address of a MAC address, by its EUI-64."""
    six = bytes.fromhex(mac.replace(":", ""))
    return str(IPv6Address(_LINK_LOCAL + int.from_bytes(bytes([six[0] ^ 2]) + six[1:3] + b"\xff\xfe" + six[3:], "big")))


def own_bridge(tag: str, network: int) -> str:
    """The bridge that a network in mode ``bridge`` makes on the host, over an interface that has none."""
    return f"gh{tag}b{network}"
