"""Which of the host's name servers a network can ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.host.nets import a_network

from guesthouse.host.networks.resolver import resolver_file, tell_the_host, words_for_host
from guesthouse.model.network import NetworkMode

CASES = {
    "nameserver 192.0.2.1\n": "resolv.conf",
    "search lan\nnameserver 127.0.0.1\nnameserver 2001:db8::1\n": "resolv.conf",
    "nameserver fe80::1%eth0\n": "resolv.conf",
    "nameserver 127.0.0.53\noptions edns0\n": "resolved.conf",
    "nameserver ::1\n": "resolved.conf",
    "nameserver\nnameserver nonsense\n": "resolved.conf",
    "": "resolved.conf",
}


@pytest.mark.parametrize("text", CASES)
def test_a_name_server_that_answers_the_host_alone_is_passed_over(text: str, tmp_path: Path) -> None:
    files = tmp_path / "resolv.conf", tmp_path / "resolved.conf"
    files[0].write_text(text)
    files[1].write_text("nameserver 192.0.2.2\n")
    assert resolver_file(files) == str(tmp_path / CASES[text])
    files[1].unlink()
    assert resolver_file(files) == (str(files[0]) if CASES[text] == "resolv.conf" else "")


def test_the_host_asks_networks_that_it_reaches_for_their_own_names_alone() -> None:
    nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24").wanted
    assert words_for_host(nat, "gh0-1") == [
        ("resolvectl", "dns", "gh0-1", "10.0.0.1"),
        ("resolvectl", "domain", "gh0-1", "~nat.guest.internal"),
        ("resolvectl", "default-route", "gh0-1", "false"),
    ]
    assert words_for_host(a_network(2, "own", NetworkMode.PRIVATE, "10.7.0.0/24").wanted, "gh0-2") == []
    assert words_for_host(a_network(3, "wire", NetworkMode.BRIDGE, link="lan0").wanted, "gh0-3") == []


async def test_where_nobody_can_be_told_nothing_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nat = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24").wanted
    await tell_the_host(nat, "gh0-1", tmp_path / "nothing")
    assert caplog.records == []
