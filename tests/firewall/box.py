"""A network's namespace with its bridges and its rules, whose machines, and whose outside, are TAPs held here.

What is written to a TAP is what a machine sends; what is read from it, what a machine gets. After each frame a herald
on every bridge calls to all, and to the outside: who has got that has got what came before.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from tests.firewall.frames import ALL, ARP, IPV4, IPV6, REQUEST, arp, frame, mac_bytes, udp
from tests.firewall.wanted import a_port
from tests.host.children import run_as
from tests.patience import PATIENCE_S

from guesthouse.formats import links
from guesthouse.formats.netfilter import change, inside
from guesthouse.model.network import NetworkWanted, PortWanted

_Own = TypeVar("_Own")
TAG = "ab12"
HERALD = 200
UPLINK = -1
UPLINK_MAC, HOST_MAC = "02:00:00:00:00:02", "02:00:00:00:00:01"
FAR, FAR6 = "198.51.100.7", "2001:db8:7::7"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_SYSCTLS = {
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/bridge/bridge-nf-call-iptables": 1,
    "net/bridge/bridge-nf-call-ip6tables": 1,
    "net/bridge/bridge-nf-call-arptables": 0,
}


def alone(work: Callable[[], None]) -> None:
    """Do this in a child process with a network of its own, which is gone with it."""

    async def run() -> None:
        work()

    run_as(take_network, run)


def take_network() -> None:
    """Have a network of its own, for this thread and those it starts."""
    assert ctypes.CDLL(None).unshare(_CLONE_NEWNET) == 0


def nft(text: str) -> None:
    """Have nft take a text; what it says against it is the failure."""
    done = subprocess.run(("nft", "-f", "-"), input=text, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stderr}\n{text}"


def ruleset() -> list[Any]:
    """What the kernel has of rules, without its handles, sets and chains in order of their names."""
    said = json.loads(subprocess.run(("nft", "-j", "list", "ruleset"), check=True, capture_output=True).stdout)
    rows: list[tuple[str, str]] = []
    for number, row in enumerate(said["nftables"]):
        for kind, thing in row.items():
            thing.pop("handle", None)
            if isinstance(thing.get("elem"), list):
                thing["elem"] = sorted(thing["elem"], key=json.dumps)
            place = f"{number:06}" if kind == "rule" else thing.get("name", "")
            rows.append((f"{kind} {thing.get('family')} {thing.get('chain', '')}", f"{place} {json.dumps(thing)}"))
    return [(kind, text[text.index("{") :]) for kind, text in sorted(rows)]


class Box:
    """The namespace of one network; `alone` has made it."""

    def __init__(self, wanted: NetworkWanted, *, ipv6: bool = True) -> None:
        self._versions = 2 if ipv6 else 1
        self.heralds = tuple(a_port(HERALD + subnet.number, subnet=subnet) for subnet in wanted.subnets)
        self.wanted = _with(wanted, (*wanted.ports, *self.heralds))
        self.ends = links.transit(TAG, wanted.network.number)
        self.taps: dict[int, int] = {}
        for path, value in _SYSCTLS.items():
            Path("/proc/sys", path).write_text(str(value))
        self._make()
        nft(inside(self.wanted, TAG))

    def change(self, wanted: NetworkWanted) -> None:
        """Have other rules, by the way from those there are."""
        after = _with(wanted, (*wanted.ports, *self.heralds))
        nft(change(self.wanted, after, TAG))
        self.wanted = after

    def _make(self) -> None:
        self.taps[UPLINK] = a_tap(links.UPLINK)
        lines = ["link set lo up", f"link set {links.UPLINK} address {UPLINK_MAC} up", *self._uplink()]
        for subnet in self.wanted.subnets:
            bridge = links.bridge(subnet.number)
            lines.append(f"link add {bridge} type bridge mcast_snooping 0")
            lines.append(f"link set {bridge} address {links.gateway_mac(subnet.number)} up")
            for address, cidr in self._own((subnet.gateway, subnet.cidr), (subnet.gateway6, subnet.cidr6)):
                lines.append(f"address add {address}/{cidr.partition('/')[2]} dev {bridge}")
        lines += [line for wanted in self.wanted.ports for line in self._plug(wanted)]
        subprocess.run(("ip", "-batch", "-"), input="\n".join(lines), text=True, check=True)
        places = [f"fdb replace {p.port.mac} dev {links.tap(p.port.number)} master static" for p in self.wanted.ports]
        subprocess.run(("bridge", "-batch", "-"), input="\n".join(places), text=True, check=True)

    def _own(self, *by_version: _Own) -> Iterable[_Own]:
        """What of a pair for IPv4 and IPv6 this namespace has."""
        return by_version[: self._versions]

    def _uplink(self) -> Iterator[str]:
        ends = self.ends
        for own, prefix, host in self._own((ends.network, 31, ends.host), (ends.network6, 127, ends.host6)):
            yield f"address add {own}/{prefix} dev {links.UPLINK}"
            yield f"neighbour add {host} lladdr {HOST_MAC} dev {links.UPLINK}"
            yield f"route add default via {host}"

    def _plug(self, wanted: PortWanted) -> Iterator[str]:
        port = wanted.port
        name = links.tap(port.number)
        subnet = next(subnet for subnet in self.wanted.subnets if subnet.id == port.subnet)
        bridge = links.bridge(subnet.number)
        self.taps[port.number] = a_tap(name)
        yield f"link set {name} addrgenmode none"
        yield f"link set {name} master {bridge} up"
        yield f"link set {name} type bridge_slave learning off flood off"
        for address in (port.address, port.address6, links.link_local(port.mac))[: 2 * self._versions - 1]:
            yield f"neighbour add {address} lladdr {port.mac} dev {bridge}"

    def gateway_mac(self, number: int) -> str:
        """Whom a port sends to what goes elsewhere."""
        subnet = next(p.port.subnet for p in self.wanted.ports if p.port.number == number)
        return links.gateway_mac(next(s.number for s in self.wanted.subnets if s.id == subnet))

    def send(self, source: int, sent: bytes) -> dict[int, list[bytes]]:
        """Send a frame from a port, or from `UPLINK`; what has come to every port, and outside, when it is over."""
        os.write(self.taps[source], sent)
        for herald in self.heralds:
            port = herald.port
            call = arp(REQUEST, port.mac, port.address, port.address)
            os.write(self.taps[port.number], frame(port.mac, ALL, ARP, call))
        farewell = udp(port.address, FAR, (HERALD, HERALD))
        os.write(self.taps[port.number], frame(port.mac, self.gateway_mac(port.number), IPV4, farewell))
        ports = {*self.taps} - {herald.port.number for herald in self.heralds}
        return {number: list(self._heard(number)) for number in ports}

    def _heard(self, number: int) -> Iterator[bytes]:
        """The frames that have come to a TAP before its herald's."""
        while select.select([self.taps[number]], [], [], PATIENCE_S)[0]:
            got = os.read(self.taps[number], 65536)
            by_herald = got[6:12] in {mac_bytes(herald.port.mac) for herald in self.heralds}
            if by_herald or (number == UPLINK and got[36:38] == struct.pack("!H", HERALD)):
                return
            yield got
        raise AssertionError(f"the herald has not come to {number}")


def uplink_frame(payload: bytes) -> bytes:
    """A packet as it comes from the host."""
    return frame(HOST_MAC, UPLINK_MAC, IPV4 if payload[0] >> 4 == 4 else IPV6, payload)


def a_tap(name: str) -> int:
    """A TAP of this name: its descriptor, from and to which frames are read and written."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def _with(wanted: NetworkWanted, ports: Iterable[PortWanted]) -> NetworkWanted:
    return msgspec.structs.replace(wanted, ports=tuple(ports))
