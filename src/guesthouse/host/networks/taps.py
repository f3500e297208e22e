"""TAPs: a machine's end of a network, as descriptors that QEMU inherits.

Rules
-----
1. A TAP belongs to whoever has its descriptor open, and ends with the last of them: a QEMU that dies leaves none.
2. It is opened, put on its bridge and set up by one visit to the namespace, with ioctls: no program is started for it.
3. A TAP that another QEMU still holds is not taken from it.

Source: linux/if_tun.h, linux/if.h, linux/sockios.h; netdevice(7); Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from guesthouse.host.networks.namespace import Namespace, apart, read_sysctl, write_sysctl
from guesthouse.host.networks.visits import Descriptor
from guesthouse.model.errors import Conflict, Failed

TUN, VHOST = "/dev/net/tun", "/dev/vhost-net"
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_SIOCGIFINDEX, _SIOCSIFMTU, _SIOCSIFFLAGS, _SIOCBRADDIF = 0x8933, 0x8922, 0x8914, 0x89A2
_IFF_UP = 1
_DISABLE_IPV6 = "net/ipv6/conf/{}/disable_ipv6"
_IFREQ = struct.Struct("16s24s")  # struct ifreq: the name, and a union of 24 bytes


class Place(NamedTuple):
    """Where a TAP goes: its own name, its bridge, and the bytes of a frame's payload."""

    tap: str
    bridge: str
    mtu: int


def open_tap(namespace: Namespace, place: Place) -> int:
    """A descriptor of the TAP, ready for frames with a virtio-net header; raises `Conflict` while another has it.

    The caller closes it, best after QEMU has inherited it.
    """
    try:
        return namespace.enter(partial(_make, place))
    except FileNotFoundError as error:
        raise Failed(
            f"{error.filename} is not there: the machine cannot be put on its network",
            hint="`guest host check` tells what this host lacks",
        ) from error


def idle_tap() -> int:
    """A descriptor of a TAP that leads nowhere, of the same kind; it has a namespace of its own."""
    return apart(partial(_open, "tap0"))


def open_vhost() -> int | None:
    """A descriptor by which the kernel moves a TAP's frames in QEMU's place; None on a host without."""
    with contextlib.suppress(OSError):
        return os.open(VHOST, os.O_RDWR | os.O_CLOEXEC)
    return None


def _make(place: Place) -> Descriptor:
    def settle() -> None:
        # Whatever is inside the namespace speaks through the bridge, never by an address of the TAP's own.
        if read_sysctl(_DISABLE_IPV6.format(place.tap)) is not None:
            write_sysctl(_DISABLE_IPV6.format(place.tap), "1")
        _connect(place)

    return _open(place.tap, settle)


def _open(tap: str, settle: Callable[[], None] = lambda: None) -> Descriptor:
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _attach(descriptor, tap)
        settle()
    except BaseException:
        os.close(descriptor)
        raise
    return Descriptor(descriptor)


def _attach(descriptor: int, tap: str) -> None:
    flags = struct.pack("=H", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _request(tap, flags))
    except OSError as error:
        if error.errno == errno.EBUSY:
            hint = "wait until the machine's QEMU is gone"
            raise Conflict(f"{tap} is still held by another process", hint=hint) from None
        raise


def _connect(place: Place) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        _, told = _IFREQ.unpack(fcntl.ioctl(control, _SIOCGIFINDEX, _request(place.tap, b"")))
        fcntl.ioctl(control, _SIOCSIFMTU, _request(place.tap, struct.pack("=i", place.mtu)))
        fcntl.ioctl(control, _SIOCBRADDIF, _request(place.bridge, told))
        fcntl.ioctl(control, _SIOCSIFFLAGS, _request(place.tap, struct.pack("=H", _IFF_UP)))


def _request(name: str, value: bytes) -> bytes:
    return _IFREQ.pack(name.encode(), value)
