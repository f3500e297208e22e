"""Ethernet frames by hand, as a guest would send them that keeps to no rule."""

from __future__ import annotations

import struct
from ipaddress import ip_address

ARP, IPV4, IPV6, RARP, VLAN = 0x0806, 0x0800, 0x86DD, 0x8035, 0x8100
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
REQUEST, REPLY = 1, 2
SYN, ACK = 0x02, 0x10
ALL = "ff:ff:ff:ff:ff:ff"


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload


def tagged(inner: bytes, vlan: int = 1, kind: int = VLAN) -> bytes:
    """The frame with the tag of a VLAN."""
    return inner[:12] + struct.pack("!HH", kind, vlan) + inner[12:]


def arp(operation: int, mac: str, address: str, target: str, *, target_mac: str = "00:00:00:00:00:00") -> bytes:
    """An ARP packet for Ethernet and IPv4; of RARP too (RFC 903)."""
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return head + mac_bytes(mac) + ip_address(address).packed + mac_bytes(target_mac) + ip_address(target).packed


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, target: str, protocol: int, payload: bytes, *, hops: int = 64) -> bytes:
    """An IP packet of the version of its addresses."""
    ends = ip_address(source).packed + ip_address(target).packed
    if ip_address(source).version == 6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + ends + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, hops, protocol, 0)
    return head[:10] + struct.pack("!H", checksum(head + ends)) + ends + payload


def _summed(source: str, target: str, protocol: int, payload: bytes, at: int) -> bytes:
    """The payload with its checksum, which is over the addresses too (RFC 768, 9293, 4443)."""
    pseudo = ip_address(source).packed + ip_address(target).packed + struct.pack("!II", len(payload), protocol)
    return payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2 :]


def udp(source: str, target: str, ports: tuple[int, int], data: bytes = b"") -> bytes:
    body = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    return packet(source, target, UDP, _summed(source, target, UDP, body, 6))


def tcp(source: str, target: str, ports: tuple[int, int], flags: int = SYN, at: tuple[int, int] = (1, 0)) -> bytes:
    """A segment without data; `at` are its sequence and acknowledgement numbers."""
    body = struct.pack("!HHIIBBHHH", *ports, *at, 5 << 4, flags, 65535, 0, 0)
    return packet(source, target, TCP, _summed(source, target, TCP, body, 16))


def echo(source: str, target: str, kind: int, code: int = 0, data: bytes = b"") -> bytes:
    """An ICMP message of the version of its addresses, of any type."""
    if ip_address(source).version == 6:
        return icmp6(source, target, kind, struct.pack("!HH", 1, 1) + data, code=code)
    body = struct.pack("!BBHHH", kind, code, 0, 1, 1) + data
    return packet(source, target, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def icmp6(source: str, target: str, kind: int, body: bytes, *, code: int = 0, hops: int = 255) -> bytes:
    message = struct.pack("!BBH", kind, code, 0) + body
    return packet(source, target, ICMP6, _summed(source, target, ICMP6, message, 2), hops=hops)


def solicit(source: str, about: str) -> bytes:
    """Who has this address? As RFC 4861 has it, without options."""
    group = ip_address(int(ip_address("ff02::1:ff00:0")) + int(ip_address(about)) % (1 << 24))
    return icmp6(source, str(group), 135, bytes(4) + ip_address(about).packed)


def advertise(source: str, about: str, mac: str, target: str = "ff02::1") -> bytes:
    """This address is mine: with the override flag, and the MAC address as an option."""
    return icmp6(source, target, 136, b"\x20\0\0\0" + ip_address(about).packed + b"\x02\x01" + mac_bytes(mac))


def fragment(inner: bytes, *, first: bytes = b"", next_header: int | None = None) -> bytes:
    """An IPv6 packet as its own only fragment (RFC 8200, 4.5); `first` goes between that header and the payload."""
    kind, payload = inner[6], inner[40:]
    head = struct.pack("!BBHI", kind if next_header is None else next_header, 0, 0, 7)
    body = head + first + payload
    return inner[:4] + struct.pack("!HB", len(body), 44) + inner[7:40] + body


def halves(inner: bytes, first: bytes, next_header: int, number: int) -> tuple[bytes, bytes]:
    """An IPv6 packet in two fragments, the first of which has `first`: what the payload begins with, after options."""
    shared = next(end for end in (16, 8, 0) if first.endswith(inner[40 : 40 + end]))
    packets = []
    for part, offset_and_flag in ((first, 1), (inner[40 + shared :], len(first))):  # 1: more fragments
        body = struct.pack("!BBHI", next_header, 0, offset_and_flag, number) + part
        packets.append(inner[:4] + struct.pack("!HB", len(body), 44) + inner[7:40] + body)
    return packets[0], packets[1]
