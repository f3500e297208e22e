"""Ports of the host's loopback: free, taken, and by whom.

Source: proc(5), /proc/net/tcp: local address, state (0A is LISTEN), inode.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from guesthouse.model.machine import Forward

LOOPBACK = "127.0.0.1"
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LISTENING = {"tcp": "0A", "udp": "07"}


def is_free(port: int, protocol: str) -> bool:
    """Whether the port can be bound now."""
    with socket.socket(socket.AF_INET, _KINDS[protocol]) as probe:
        # As libslirp does: a port that only waits out its last connection is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            if protocol == "tcp":
                probe.listen(1)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def free_port(protocol: str) -> int:
    """A port that nobody has, as the kernel chooses it."""
    with socket.socket(socket.AF_INET, _KINDS[protocol]) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def describe_holder(forward: Forward) -> str:
    """Who has a port, as the end of a sentence (``: by sshd, process 812``); empty when it cannot be told."""
    inode = _inode(forward.host_port, forward.protocol)
    if inode is None:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look into
            if _has_socket(process, inode):
                return f": by {(process / 'comm').read_text().strip()}, process {process.name}"
    return ""


def _has_socket(process: Path, inode: int) -> bool:
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if str(descriptor.readlink()) == f"socket:[{inode}]":
                return True
    return False


def _inode(port: int, protocol: str) -> int | None:
    for family in ("", "6"):
        for line in Path(f"/proc/net/{protocol}{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == _LISTENING[protocol]:
                return int(fields[9])
    return None
