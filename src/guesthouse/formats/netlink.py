"""What the kernel tells over netlink when links, addresses, routes and rules change, as far as something is lost.

Rules
-----
1. What is new disturbs nobody: of that nothing is told here.
2. A message is believed as far as it goes: one that is cut off, or of a kind not known, is skipped.

Source: linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h, netfilter/nf_tables.h; a bridge tells of a port that it
lost as RTM_DELLINK in the family AF_BRIDGE, with the port's index.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

LINK_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, and RTMGRP_IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE."""
RULE_GROUPS = 1 << 6
"""NFNLGRP_NFTABLES."""
TABLE_LOST, RULES_CHANGED = 10 << 8 | 2, 10 << 8 | 15
"""NFT_MSG_DELTABLE, and NFT_MSG_NEWGEN, which ends every transaction."""
_HEADER = struct.Struct("=IHHII")
_NEW_LINK, _LOST_LINK, _LOST_ADDRESS, _LOST_ROUTE = 16, 17, 21, 25
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, which of them changed
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ROUTE_BYTES, _ATTRIBUTE, _OUT_BY = 12, struct.Struct("=HHI"), 4  # struct rtmsg; RTA_OIF
_UP = 1


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages in a datagram: type and what follows the header; each begins at a multiple of 4."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        yield kind, data[at + _HEADER.size : at + length]
        at += max(length + 3 & ~3, _HEADER.size)


def disturbed(data: bytes) -> set[int]:
    """Indexes of links that went, went down, or lost a bridge, an address or a route."""
    return {index for kind, body in messages(data) for index in _disturbed(kind, body)}


def _disturbed(kind: int, body: bytes) -> Iterator[int]:
    if kind in (_NEW_LINK, _LOST_LINK) and len(body) >= _LINK.size:
        _, _, index, flags, changed = _LINK.unpack_from(body)
        # A new link counts as changed in all its flags, and is not up yet: that is none that went down.
        if kind == _LOST_LINK or (changed & _UP and not flags & _UP and changed != 0xFFFF_FFFF):
            yield index
    elif kind == _LOST_ADDRESS and len(body) >= _ADDRESS.size:
        yield _ADDRESS.unpack_from(body)[4]
    elif kind == _LOST_ROUTE:
        yield from _out_by(body[_ROUTE_BYTES:])


def _out_by(attributes: bytes) -> Iterator[int]:
    at = 0
    while at + _ATTRIBUTE.size <= len(attributes):
        length, kind, value = _ATTRIBUTE.unpack_from(attributes, at)
        if kind == _OUT_BY:
            yield value
        at += max(length + 3 & ~3, 4)
