"""Ports of the loopback for tests that name one."""

from __future__ import annotations

import os
from pathlib import Path

from guesthouse.host.network_ports import is_free

_FIRST = 1024
_HANDED_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")


def a_port(protocol: str = "tcp") -> int:
    """A free port below those that the kernel hands out (ip(7)), so that nobody gets it by chance before it is used.

    Tests that run at the same time begin to look at different numbers.
    """
    count = max(int(_HANDED_OUT.read_text().split()[0]), 2 * _FIRST) - _FIRST
    return next(
        port for port in (_FIRST + (os.getpid() + step) % count for step in range(count)) if is_free(port, protocol)
    )
