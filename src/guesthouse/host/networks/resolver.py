"""Names, between a network and its host: whom the network asks for others' names, and how the host asks for its own.

Rules
-----
1. A name server on the host's own loopback answers the host alone. Where that is systemd-resolved, those that it asks
   are in a file of its own; of any other we do not know whom it asks.
2. The file is named, not read: dnsmasq follows its changes by itself.
3. The host learns names of networks that it reaches where systemd-resolved runs, which asks by link and domain; what it
   was told goes with the link. Elsewhere its own configuration is left alone: a gateway answers whoever asks it.

Source: resolv.conf(5); systemd-resolved.service(8) on /run/systemd/resolve/resolv.conf;
resolvectl(1).
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path

from guesthouse.host.processes import run
from guesthouse.model.errors import GuesthouseError
from guesthouse.model.network import NetworkMode, NetworkWanted

_LOG = logging.getLogger(__name__)
_RESOLVED = Path("/run/systemd/resolve")
_REACHED = (NetworkMode.NAT, NetworkMode.HOST_ONLY)
_TIMEOUT_S = 10.0
_FILES = (Path("/etc/resolv.conf"), _RESOLVED / "resolv.conf")


def resolver_file(files: tuple[Path, ...] = _FILES) -> str:
    """The first file with a name server that others can ask; "" where there is none."""
    return next((str(path) for path in files if _names_a_server(path)), "")


async def tell_the_host(wanted: NetworkWanted, link: str, place: Path = _RESOLVED) -> None:
    """Have the host ask the network's name server for its names, where that can be said of one link alone."""
    if not place.is_dir():
        return
    try:
        for words in words_for_host(wanted, link):
            await run(words, timeout_s=_TIMEOUT_S)
    except GuesthouseError as error:
        _LOG.warning("the host does not know names of network %s: %s", wanted.network.name, error)


def words_for_host(wanted: NetworkWanted, link: str) -> list[tuple[str, ...]]:
    """The commands for systemd-resolved; none where the host does not reach the network."""
    gateways = [subnet.gateway for subnet in wanted.subnets]
    if wanted.network.mode not in _REACHED or not gateways or not wanted.network.domain:
        return []
    return [
        ("resolvectl", "dns", link, *gateways),
        ("resolvectl", "domain", link, f"~{wanted.network.domain}"),
        ("resolvectl", "default-route", link, "false"),
    ]


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
