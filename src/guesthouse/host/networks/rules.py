"""Rules into the kernel, and whether they are still as they were put there.

Rules
-----
1. A text is one transaction, by one run of nft: packets see the rules before or those after.
2. The kernel counts the transactions of a namespace. In one of ours nobody else has business: another number than after
   our last text means that somebody changed something.

Source: nft(8); linux/netfilter/nf_tables.h and nfnetlink.h: NFT_MSG_GETGEN is answered with NFTA_GEN_ID, big endian.
"""

from __future__ import annotations

import socket
import struct

from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.errors import Failed

_NFT = ("nft", "-f", "-")
_TIMEOUT_S = 60.0
_NETLINK_NETFILTER = 12
_GET, _TOLD = 10 << 8 | 16, 10 << 8 | 15  # NFNL_SUBSYS_NFTABLES; NFT_MSG_GETGEN and NFT_MSG_NEWGEN
_HEADERS = struct.Struct("=IHHIIBBH")  # struct nlmsghdr, then struct nfgenmsg
_ATTRIBUTE = struct.Struct(">HHI")  # as far as only the value matters: a length and a type, skipped, and the number
_REQUEST = 1


async def load(namespace: Namespace, text: str) -> int:
    """Apply a text inside; the generation of the rules after it."""
    await namespace.run(*_NFT, stdin=text)
    return namespace.enter(generation)


def generation() -> int:
    """How many transactions the rules of this thread's network have seen."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, _NETLINK_NETFILTER) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.sendto(_HEADERS.pack(_HEADERS.size, _GET, _REQUEST, 0, 0, socket.AF_UNSPEC, 0, 0), (0, 0))
        answer = asking.recv(4096)
    if _HEADERS.unpack_from(answer)[1] != _TOLD:
        raise Failed("the kernel does not tell the generation of its rules", hint="see whether it has nf_tables")
    number: int = _ATTRIBUTE.unpack_from(answer, _HEADERS.size)[2]
    return number
