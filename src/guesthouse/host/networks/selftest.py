"""Whether rules that remember connections hold on this host for what a bridge passes on.

Rules
-----
1. It is tried, not looked up: where br_netfilter is not there, or does not work, groups fail open, and nothing says so.
2. It is tried in a namespace of its own, with frames written to a TAP and read from another: nobody else sees them.
3. Of two frames sent one after the other the first is to be dropped, and the second arrives: when it is there, the
   first one either came before it or never comes. So nothing is waited for in vain.

Source: Documentation/networking/bridge.rst, "netfilter"; RFC 791, 768 and 8200 for the frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import struct
import textwrap
import uuid
from ipaddress import ip_address

from guesthouse.formats import iproute
from guesthouse.host.networks import taps
from guesthouse.host.networks.layout import BRIDGED_RULES
from guesthouse.host.networks.namespace import HOST, Ground, Namespace, write_sysctl
from guesthouse.model.errors import Conflict, GuesthouseError

_TIMEOUT_MS = 10_000
_JUDGED = "1"
_NAMES, _MACS = ("one", "two"), (b"\x02gh\0\0\1", b"\x02gh\0\0\2")
_ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
_OPEN, _CLOSED = 2, 1
_UDP, _ETHERTYPES = 17, {4: 0x0800, 6: 0x86DD}
_VNET_HEADER = bytes(10)  # struct virtio_net_hdr: nothing left to compute
_RULES = textwrap.dedent(
    f"""\
    table inet guesthouse {{
    \tchain forward {{
    \t\ttype filter hook forward priority filter; policy drop;
    \t\tct state established,related accept
    \t\tudp dport {_OPEN} accept
    \t}}
    }}
    """
)
# Who sends, from which port to which, and whether it is to arrive. An answer goes from the open port to a closed one.
_FRAMES = ((0, 9, _CLOSED, False), (0, 9, _OPEN, True), (1, _OPEN, _CLOSED, False), (1, _OPEN, 9, True))


class Judges:
    """Remembers how the trial ended: good for the life of a daemon, bad until the next time somebody asks."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._good = ground, False
        self._trying = asyncio.Lock()

    async def require(self) -> None:
        """Raise `Conflict` where groups would fail open."""
        async with self._trying:
            if self._good:
                return
            try:
                passed = await wrongly_passed(self._ground)
            except (GuesthouseError, OSError) as error:
                raise Conflict(f"it cannot be tried whether groups hold on this host: {error}") from error
            if passed:
                raise Conflict(
                    f"groups do not hold on this host: {passed} passed a bridge against its rules",
                    hint="load the kernel module br_netfilter",
                )
            self._good = True


async def wrongly_passed(ground: Ground = HOST) -> str:
    """What passed a bridge though a rule drops it, or was dropped though one lets it pass; "" when all is well."""
    namespace = Namespace(f"gh-trial-{uuid.uuid4().hex[:8]}", ground)
    await namespace.make()
    try:
        with contextlib.suppress(FileNotFoundError):  # then the trial fails, and says so
            namespace.enter(_judge_bridged)
        await namespace.run("nft", "-f", "-", stdin=_RULES)
        lines = (iproute.bridge("br0", "02:67:68:00:00:00"), "link set br0 up")
        await namespace.run(*iproute.BATCH, stdin=iproute.batch(lines))
        with contextlib.ExitStack() as stack:
            ends = [taps.open_tap(namespace, taps.Place(name, "br0", 1500)) for name in _NAMES]
            for end in ends:
                stack.callback(os.close, end)
            return await asyncio.to_thread(_try, ends)
    finally:
        await namespace.remove()


def _judge_bridged() -> None:
    for name in BRIDGED_RULES:
        write_sysctl(name, _JUDGED)


def _try(ends: list[int]) -> str:
    for version in _ADDRESSES:
        arrived: list[bytes] = []
        for number, (sender, source, target, passes) in enumerate(_FRAMES):
            os.write(ends[sender], _frame(version, sender, source, target, number))
            if passes and not _until(ends[1 - sender], _mark(number), arrived):
                return f"not even what is allowed of IPv{version}"
        for number, (*_, passes) in enumerate(_FRAMES):
            if not passes and any(_mark(number) in frame for frame in arrived):
                return f"IPv{version}"
    return ""


def _until(end: int, mark: bytes, arrived: list[bytes]) -> bool:
    """Read what arrives until the marked frame does; False when it does not."""
    poller = select.poll()
    poller.register(end, select.POLLIN)
    while poller.poll(_TIMEOUT_MS):
        frame = os.read(end, 4096)
        arrived.append(frame)
        if mark in frame:
            return True
    return False


def _mark(number: int) -> bytes:
    return b"guesthouse %02d" % number


def _frame(version: int, sender: int, source: int, target: int, number: int) -> bytes:
    """A datagram of UDP; IPv4 allows it to have no checksum, IPv6 does not."""
    ours, theirs = (ip_address(_ADDRESSES[version][i]).packed for i in (sender, 1 - sender))
    data = _mark(number)
    length = 8 + len(data)
    udp = struct.pack(">HHHH", source, target, length, 0) + data
    if version == 6:
        checked = _sum(ours + theirs + struct.pack(">II", length, _UDP) + udp)
        udp = udp[:6] + struct.pack(">H", checked or 0xFFFF) + udp[8:]
        header = struct.pack(">IHBB", 6 << 28, length, _UDP, 64) + ours + theirs
    else:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, number + 1, 0, 64, _UDP, 0) + ours + theirs
        header = header[:10] + struct.pack(">H", _sum(header)) + header[12:]
    return _VNET_HEADER + _MACS[1 - sender] + _MACS[sender] + struct.pack(">H", _ETHERTYPES[version]) + header + udp


def _sum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
