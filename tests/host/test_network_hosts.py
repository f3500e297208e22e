"""Hosts that cannot have every network: what is refused, with which reason, and what ``guest host check`` says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.host.children import become_alone, become_nobody, lose_net_admin, mount_small
from tests.host.nets import a_house_with_networks, a_network, ip, left, on_a_host, outside

from guesthouse.formats.iproute import read_links
from guesthouse.host.networks import cable, findings, selftest
from guesthouse.host.networks.namespace import FOLDER, Namespace
from guesthouse.model.errors import Conflict
from guesthouse.model.network import Group, NetworkMode

TABLE = "inet guesthouse_00000000_networks"


# What is made of the link, what is said of it, and what is advised.
REFUSED = {
    "nothing": ("lan9", "this host has no link lan9", "ip link"),
    "loopback": ("lo", "lo carries no Ethernet frames", "mode nat"),
    "used": ("lan0", "the host itself has 192.0.2.7/24 on lan0, and would be cut off", "make a bridge"),
    "part": ("lan1", "lan1 is a part of br-lan", "name br-lan in its place"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_link_that_cannot_carry_a_network_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    link, reason, hint = REFUSED[case]

    async def look() -> None:
        async with outside(), a_house_with_networks() as (house, networks):
            ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
            ip("link", "add", "br-lan", "type", "bridge")
            ip("address", "add", "192.0.2.7/24", "dev", "lan0")
            ip("link", "set", "lan1", "master", "br-lan")
            made = a_network(1, "wire", NetworkMode.BRIDGE, link=link)
            with pytest.raises(Conflict, match=reason) as caught:
                await networks.apply(made.wanted)
            assert hint in caught.value.hint
            assert (caught.value.field, caught.value.value) == ("link", link)
            assert (left(), list(house.networks.iterdir())) == ([], [])

    on_a_host(tmp_path, look)


def test_wifi_is_refused(tmp_path: Path) -> None:
    """No Wi-Fi is here; sysfs tells of one by a folder."""
    (tmp_path / "wlan0" / "phy80211").mkdir(parents=True)
    seen = read_links('[{"ifname": "wlan0", "link_type": "ether", "mtu": 1500}]')
    network = a_network(1, "wire", NetworkMode.BRIDGE, link="wlan0").network
    with pytest.raises(Conflict, match="wlan0 is Wi-Fi"):
        cable.plug(network, "abcd", seen, tmp_path)


def test_an_interface_that_the_host_does_not_use_gets_a_bridge_of_ours(tmp_path: Path) -> None:
    async def look() -> None:
        async with outside(), a_house_with_networks() as (_, networks):
            ip("link", "add", "lan0", "type", "veth", "peer", "name", "cable")
            made = a_network(1, "wire", NetworkMode.BRIDGE, link="lan0")
            for _ in range(2):
                for site in networks.sites().values():
                    site.suspect = True
                await networks.apply(made.wanted)
                assert await networks.differs(made.wanted) == []
            (lan,) = msgspec.json.decode(ip("-j", "link", "show", "lan0"))
            assert lan["master"].startswith("gh")
            await networks.remove(made.network)
            assert left() == []
            (lan,) = msgspec.json.decode(ip("-j", "link", "show", "lan0"))
            assert "master" not in lan

    on_a_host(tmp_path, look)


@pytest.mark.parametrize("cidr", ["203.0.113.0/25", "192.0.2.0/24", "172.20.0.0/16"])
def test_addresses_that_lead_elsewhere_are_refused(cidr: str, tmp_path: Path) -> None:
    async def look() -> None:
        async with outside(), a_house_with_networks() as (_, networks):
            ip("address", "add", "192.0.2.7/32", "dev", "wan0")
            ip("route", "add", "172.20.5.0/24", "via", "203.0.113.9")
            with pytest.raises(Conflict, match="this host has another way") as caught:
                await networks.apply(a_network(1, "nat", NetworkMode.NAT, cidr).wanted)
            assert (caught.value.field, caught.value.value) == ("cidr", cidr)
            assert left() == []
            await networks.apply(a_network(2, "own", NetworkMode.PRIVATE, cidr).wanted)

    on_a_host(tmp_path, look)


def test_groups_hold_here(tmp_path: Path) -> None:
    async def look() -> None:
        assert await selftest.wrongly_passed() == ""
        assert left() == []

    on_a_host(tmp_path, look)


def test_groups_that_would_not_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without br_netfilter: nothing says so, all passes."""
    monkeypatch.setattr(selftest, "_JUDGED", "0")

    async def look() -> None:
        async with outside(), a_house_with_networks() as (_, networks):
            assert await selftest.wrongly_passed() == "IPv4"
            made = a_network(1, "one", NetworkMode.PRIVATE, "10.7.0.0/24")
            await networks.apply(made.wanted)
            made.groups.append(Group(id="g", project="p", network="net-1", name="web"))
            with pytest.raises(Conflict, match="groups do not hold") as caught:
                await networks.apply(made.wanted)
            assert "br_netfilter" in caught.value.hint
            levels = {each.name: each.level for each in await findings.check(TABLE)}
            assert (levels["networks"], levels["groups"]) == ("ok", "warning")

    on_a_host(tmp_path, look)


def test_a_network_on_a_bridge_of_the_host_has_no_groups(tmp_path: Path) -> None:
    async def look() -> None:
        async with outside(), a_house_with_networks() as (_, networks):
            made = a_network(1, "wire", NetworkMode.BRIDGE, link="wan0")
            made.port(1, groups=("g",))
            with pytest.raises(Conflict, match="mode bridge has no groups"):
                await networks.apply(made.wanted)

    on_a_host(tmp_path, look)


def test_a_check_finds_all_well_and_leaves_nothing(tmp_path: Path) -> None:
    async def look() -> None:
        async with outside():
            found = {each.name: each for each in await findings.check(TABLE)}
            assert {name: each.level for name, each in found.items()} == {
                "networks": "ok", "groups": "ok", "way out": "ok", "way out by IPv6": "warning",
                "connections": "ok", "names": "ok",
            }  # fmt: skip
            assert ip("netns").split() == ["outside", "(id:", "0)"]

    on_a_host(tmp_path, look)


def test_a_check_names_who_drops_what_networks_send(tmp_path: Path) -> None:
    async def look() -> None:
        others = ("ip filter", "FORWARD"), ("inet firewalld", "filter_FORWARD")
        for table, chain in others:
            hook = "type filter hook forward priority filter; policy drop;"
            subprocess.run(("nft", f"table {table} {{ chain {chain} {{ {hook}\n}}\n}}"), check=True)
        way_out = next(each for each in await findings.check(TABLE) if each.name == "way out")
        assert way_out.level == "warning"
        assert "in ip filter FORWARD and inet firewalld filter_FORWARD" in way_out.found
        subprocess.run(way_out.fix, shell=True, check=True)
        for table, chain in others:
            listed = subprocess.run(("nft", "list", "chain", *table.split(), chain), check=True, capture_output=True)
            assert listed.stdout.count(b'"gh*" accept') == 2

    on_a_host(tmp_path, look)


@pytest.mark.parametrize(
    ("most", "now", "level", "fix"),
    [
        (1000, 799, "ok", ""),
        (1000, 800, "warning", "sysctl net.netfilter.nf_conntrack_max=2000"),
        (0, 800, "ok", ""),
    ],
)
def test_a_check_tells_how_full_the_table_of_connections_is(most: int, now: int, level: str, fix: str) -> None:
    found = findings.connections(most, now)
    assert (found.level, found.fix) == (level, fix)
    assert (f"{now} of the {most}" in found.found, "a NIC may begin 63" in found.found) == (most > 0, most > 0)


@pytest.mark.parametrize("prepare", [lose_net_admin, become_nobody])
def test_without_the_right_there_are_no_networks(prepare: Callable[[], None], tmp_path: Path) -> None:
    async def look() -> None:
        (found,) = await findings.check(TABLE)
        assert (found.name, found.level) == ("networks", "warning")
        assert "user-mode networks alone" in found.found
        assert "root" in found.fix or "CAP_NET_ADMIN" in found.fix

    on_a_host(tmp_path, look, prepare)


def test_root_of_a_namespace_of_one_user_has_networks(tmp_path: Path) -> None:
    """He may not set groups, and there is nobody else that a name server could run as."""

    async def look() -> None:
        levels = {each.name: each.level for each in await findings.check(TABLE)}
        assert (levels["networks"], levels["groups"]) == ("ok", "ok")
        async with a_house_with_networks() as (_, networks):
            made = a_network(1, "nat", NetworkMode.NAT, "10.0.0.0/24")
            await networks.apply(made.wanted)
            assert await networks.differs(made.wanted) == []

    on_a_host(tmp_path, look, become_alone)


def test_without_dnsmasq_there_are_no_networks(tmp_path: Path) -> None:
    programs = [name for each in ("ip", "nft", "nsenter", "setpriv") if (name := shutil.which(each, path="/usr/sbin"))]
    kept = {name: Path(name).read_bytes() for name in programs}

    def lose() -> None:
        mount_small(Path("/usr/sbin"), "8m")
        for name, data in kept.items():
            Path(name).write_bytes(data)
            Path(name).chmod(0o755)

    async def look() -> None:
        (found,) = await findings.check(TABLE)
        assert (found.found, found.fix) == (
            "not installed: dnsmasq; machines have user-mode networks alone", "apt install dnsmasq-base",
        )  # fmt: skip

    on_a_host(tmp_path, look, lose)


def test_a_name_without_a_namespace_is_taken_over(tmp_path: Path) -> None:
    """As a daemon leaves it that was killed while it made one."""

    async def look() -> None:
        FOLDER.mkdir()
        namespace = Namespace("ghabcd-1")
        namespace.path.touch()
        assert not namespace.is_there()
        await namespace.make()
        assert namespace.is_there()
        await namespace.remove()
        await namespace.remove()
        assert not namespace.path.exists()

    on_a_host(tmp_path, look)
