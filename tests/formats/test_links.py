"""Names and addresses of links: they fit, and never meet within a house."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest

from guesthouse.formats import links

TAG = links.tag_of(Path("/var/lib/guesthouse"))
NUMBERS = (1, 2, 77, 99_999_999)


def test_names_fit_an_interface() -> None:
    names = {links.link(TAG, number) for number in NUMBERS}
    assert len(names) == len(NUMBERS)
    assert all(len(name) <= 15 and name.startswith("gh") for name in names)
    assert links.link("ab12", 3) == links.namespace("ab12", 3) == "ghab12-3"


def test_houses_have_tags_of_their_own() -> None:
    folders = (Path("/srv/a"), Path("/srv/b"), Path("/srv/ä b"), Path("/srv/\udcff"))
    assert len({links.tag_of(folder) for folder in folders}) == len(folders)


@pytest.mark.parametrize("tag", ["0000", TAG, "ffff"])
def test_transit_addresses(tag: str) -> None:
    seen: set[str] = set()
    for number in range(1, 2000):
        ends = links.transit(tag, number)
        addresses = {ends.host, ends.network, ends.host6, ends.network6}
        assert not seen & addresses
        seen |= addresses
        assert ip_address(ends.host) in ip_network("100.64.0.0/10")
        assert ip_address(ends.network) in ip_network(f"{ends.host}/{ends.prefix}")
        assert ip_address(ends.network6) in ip_network(f"{ends.host6}/{ends.prefix6}")
        assert ip_address(ends.host6) in ip_network("fd00::/8")


def test_two_houses_begin_at_different_places() -> None:
    assert not set(links.transit("0001", 1)[:4]) & set(links.transit("0002", 1)[:4])


def test_addresses_of_gateways_and_machines() -> None:
    assert links.gateway_mac(1) == "02:67:68:00:00:01"
    assert links.link_local("52:54:00:12:34:56") == "fe80::5054:ff:fe12:3456"
    assert IPv6Address(links.link_local(links.gateway_mac(300))).is_link_local
