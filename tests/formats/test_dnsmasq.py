"""What dnsmasq is told: golden command lines, files of ports, leases. That it does so is proven in tests/host."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.golden.golden import Golden
from tests.host.nets import a_network

from guesthouse.formats.dnsmasq import (
    Lease,
    PortFiles,
    addresses_of,
    command,
    is_served,
    port_files,
    read_leases,
    without,
)
from guesthouse.model.network import NetworkMode

CIDRS = {NetworkMode.NAT: "10.0.0.0/24", NetworkMode.HOST_ONLY: "192.168.56.0/24", NetworkMode.PRIVATE: "10.7.0.0/24"}
LEASES = """\
1700000000 52:54:00:00:00:01 10.0.0.11 web *
duid 00:01:00:01:2c:aa
1700000100 7 fd00:1::b web 00:02
1700000200 52:54
"""


@pytest.mark.parametrize("mode", CIDRS)
def test_command_lines(mode: NetworkMode, golden: Golden) -> None:
    wanted = a_network(1, mode, mode, CIDRS[mode], "fd00:1::/64").wanted
    words = command(wanted, "/run/guesthouse/networks/ID", "/etc/resolv.conf", {1: "br1"}, "up0", 1450)
    golden(f"dnsmasq/{mode}.txt", "\n".join(words) + "\n")


def test_without_a_resolver_nobody_else_is_asked() -> None:
    wanted = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24").wanted
    assert "--no-resolv" in command(wanted, "/f", "", {1: "br1"}, "up0", 1500)


def test_who_has_one() -> None:
    assert {mode for mode in NetworkMode if is_served(a_network(1, "a", mode).network)} == set(CIDRS)


def test_the_files_of_ports() -> None:
    made = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24", "fd00:1::/64")
    made.port(1)
    second = made.port(2)
    made.ports[1] = replace(second, port=replace(second.port, machine="nat-1", name="nat-1"))
    assert port_files(made.wanted) == {
        1: PortFiles(
            "52:54:01:00:00:01,10.0.0.11,[fd00:1::b],nat-1\n",
            "10.0.0.11 nat-1.nat.guest.internal nat-1\nfd00:1::b nat-1.nat.guest.internal nat-1\n",
        ),
        2: PortFiles(
            "52:54:01:00:00:02,10.0.0.12,[fd00:1::c]\n",
            "10.0.0.12 nat-1.nat.guest.internal nat-1\nfd00:1::c nat-1.nat.guest.internal nat-1\n",
        ),
    }
    assert addresses_of(port_files(made.wanted)[1].addresses) == {"10.0.0.11", "fd00:1::b"}


def test_a_machine_of_another_project_has_a_name_of_its_own_alone() -> None:
    made = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24", "fd00:1::/64")
    stranger = replace(made.port(1), project="shop")
    made.ports = [stranger]
    assert port_files(made.wanted) == {
        1: PortFiles(
            "52:54:01:00:00:01,10.0.0.11,[fd00:1::b]\n",
            "10.0.0.11 nat-1.shop.nat.guest.internal\nfd00:1::b nat-1.shop.nat.guest.internal\n",
        )
    }


def test_leases_are_read_as_far_as_they_are_whole() -> None:
    assert read_leases(LEASES) == [
        Lease("10.0.0.11", 1700000000.0, "52:54:00:00:00:01"),
        Lease("fd00:1::b", 1700000100.0),
    ]
    assert read_leases("") == []


def test_leases_of_others_go_and_nothing_else() -> None:
    lines = LEASES.splitlines(keepends=True)
    assert without(LEASES, {"10.0.0.11"}) == "".join(lines[1:])
    assert without(LEASES, {"fd00:1::b"}) == "".join((*lines[:2], lines[3]))
    assert without(LEASES, set()) == LEASES
