"""Whom the host asks for names, as far as a network can ask them too.

Rules
-----
1. A name server on the host's own loopback answers the host alone. Where that is systemd-resolved, those that it asks
   are in a file of its own; of any other we do not know whom it asks.
2. The file is named, not read: dnsmasq follows its changes by itself.

Source: resolv.conf(5); systemd-resolved.service(8) on /run/systemd/resolve/resolv.conf.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def resolver_file(files: tuple[Path, ...] = _FILES) -> str:
    """The first file with a name server that others can ask; "" where there is none."""
    return next((str(path) for path in files if _names_a_server(path)), "")


def _names_a_server(path: Path) -> bool:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(_is_reachable(words[1]) for line in lines if (words := line.split())[:1] == ["nameserver"] and words[1:])


def _is_reachable(server: str) -> bool:
    try:
        return not ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False
