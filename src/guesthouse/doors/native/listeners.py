"""The sockets of the door, bound before anything is served.

Rules
-----
1. Bind first: whoever connects before the daemon is ready waits in the socket's queue and is served.
2. The unix socket has mode 0600 from the moment it is there: Linux gives it the mode of the unbound socket's
   inode, so no umask is touched, which threads share.
3. A socket file that is there already belongs to a dead daemon: the caller holds the house's lock.
4. A TCP socket always speaks TLS.
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from guesthouse.doors.native.certificates import Certificate
from guesthouse.model.errors import Conflict, Invalid

MAX_PATH_BYTES = 107
_BACKLOG = 256


@dataclass(frozen=True)
class Listener:
    """A bound socket. One with a `certificate` is for the network and wants tokens; else it is the house's own."""

    socket: socket.socket
    certificate: Certificate | None = None
    path: Path | None = None

    @property
    def port(self) -> int:
        """The TCP port; 0 for a unix socket."""
        return 0 if self.socket.family == socket.AF_UNIX else int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Stop listening; the file of a unix socket goes too. The house's lock is still held."""
        self.socket.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def bind_unix(path: Path) -> Listener:
    """Listen at `path`, which only the daemon's user may open. The caller holds the house's lock.

    Raises `Invalid` for a path that no socket can have, `Conflict` where something else is in the way.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise Invalid(
            f"{path} is too long for a socket",
            field="GUESTHOUSE_HOME",
            value=str(path),
            hint=f"choose a home in which this is {MAX_PATH_BYTES} bytes at most (unix(7))",
        )
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Conflict(f"cannot listen at {path}: {error.strerror}", value=str(path)) from error
    return Listener(listener, path=path)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} is in the way: it is no socket", value=str(path), hint="move it away")
    path.unlink()


def bind_tcp(host: str, port: int, certificate: Certificate) -> Listener:
    """Listen at an address of this host; port 0 is chosen by the kernel.

    Raises `Conflict` where that cannot be, `Invalid` for a certificate that is none.
    """
    certificate.check()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Conflict(
            f"cannot listen at {host} port {port}: {error.strerror or error}", field="listen", value=f"{host}:{port}",
            hint="choose another address or port",
        ) from error  # fmt: skip
    return Listener(listener, certificate)
