"""The kernel's word that a device came, from a netlink socket: nothing has to be looked for again and again.

Source: lib/kobject_uevent.c of Linux; netlink(7), NETLINK_KOBJECT_UEVENT.
"""

from __future__ import annotations

import _socket  # the module `socket` would bring much more with it
import select

_PROTOCOL = 15
_KERNEL_GROUP = 1
_LONGEST_BYTES = 8192


class Uevents:
    """A socket of uevents: from its opening on none is missed, even while nobody waits."""

    def __init__(self, socket: _socket.socket) -> None:
        self._socket = socket

    def wait(self, *subsystems: str, timeout_s: float | None = None) -> bool:
        """Wait until a device of one of these subsystems is added; False when none came in time.

        Whoever waits looks for himself what is there: after an overflow of the socket that is due as well.
        """
        wanted = [b"SUBSYSTEM=" + subsystem.encode() for subsystem in subsystems]
        while timeout_s is None or select.select([self._socket], [], [], timeout_s)[0]:
            try:
                fields = self._socket.recv(_LONGEST_BYTES).split(b"\0")
            except OSError:
                return True  # ENOBUFS: events were lost
            if b"ACTION=add" in fields and any(field in fields for field in wanted):
                return True
        return False

    def forget(self) -> None:
        """Pass over all that came until now."""
        while select.select([self._socket], [], [], 0)[0]:
            try:
                self._socket.recv(_LONGEST_BYTES)
            except OSError:
                return  # ENOBUFS: events were lost, and the rest is of no more use


def listen() -> Uevents:
    """The kernel's own events."""
    socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, _PROTOCOL)
    socket.bind((0, _KERNEL_GROUP))
    return Uevents(socket)
