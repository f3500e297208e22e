"""The host's loopback addresses: a link takes them, for ports forwarded at 127.0.0.1, and yet nothing comes by them."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from tests.firewall.box import TAG, a_tap, alone, nft
from tests.firewall.frames import IPV4, frame, udp
from tests.firewall.wanted import a_network

from guesthouse.formats import links
from guesthouse.formats.netfilter import outside

TABLE = "inet guesthouse_test_networks"
HOST_MAC, NETWORK_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
ENDS = links.transit(TAG, 1)
LINK = links.link(TAG, 1)


@pytest.mark.parametrize("guarded", [True, False], ids=["with the table", "without"])
def test_what_comes_by_a_link_to_loopback(guarded: bool) -> None:
    """A namespace sends none; were one to, it would be heard but for the table."""

    def look() -> None:
        tap = a_tap(LINK)
        lines = ("link set lo up", f"link set {LINK} address {HOST_MAC} up", f"address add {ENDS.host}/31 dev {LINK}")
        subprocess.run(("ip", "-batch", "-"), input="\n".join(lines), text=True, check=True)
        Path(f"/proc/sys/net/ipv4/conf/{LINK}/route_localnet").write_text("1")
        for scope in ("all", LINK):
            Path(f"/proc/sys/net/ipv4/conf/{scope}/rp_filter").write_text("0")
        if guarded:
            nft(outside(TABLE, TAG, [a_network("nat")]))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) as service:
            service.bind(("", 7000))
            for target, heard in ((ENDS.host, True), ("127.0.0.1", not guarded), ("127.8.8.8", not guarded)):
                asked = udp(ENDS.network, target, (7001, 7000), target.encode())
                os.write(tap, frame(NETWORK_MAC, HOST_MAC, IPV4, asked))
                assert _receive(service) == (target.encode() if heard else None)

    alone(look)


def _receive(service: socket.socket) -> bytes | None:
    try:
        return service.recv(64)
    except BlockingIOError:
        return None
