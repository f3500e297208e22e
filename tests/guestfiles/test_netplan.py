"""network-config of both versions, and the commands that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from guesthouse.guestfiles.micro.firstboot import netplan, network
from guesthouse.guestfiles.micro.firstboot.guest import Guest
from guesthouse.guestfiles.micro.firstboot.outcome import Outcome

from .conftest import ScratchGuest

NICS = {"eth0": "52:54:00:00:00:01", "eth1": "52:54:00:00:00:02"}


def planned(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    setups, problems = netplan.plan(yaml.safe_load(text), NICS)
    return [{key: value for key, value in vars(setup).items() if value} for setup in setups], problems


def test_without_a_configuration_every_nic_asks_dhcp() -> None:
    setups, problems = netplan.plan(None, NICS)
    assert [(setup.name, setup.dhcp) for setup in setups] == [("eth0", True), ("eth1", True)]
    assert problems == []


def test_version_2() -> None:
    assert planned(
        """
        version: 2
        ethernets:
          lan:
            match: {macaddress: "52:54:00:00:00:02"}
            set-name: lan0
            addresses: [10.0.0.5/24, "fd00::5/64"]
            gateway4: 10.0.0.1
            mtu: 1400
            routes: [{to: 192.168.0.0/16, via: 10.0.0.2, metric: 7}, {to: default, via: "fd00::1"}]
            nameservers: {addresses: [10.0.0.3], search: [example.org]}
          eth0: {dhcp4: true}
        """
    ) == (
        [
            {
                "nic": "eth1",
                "name": "lan0",
                "mtu": 1400,
                "addresses": ["10.0.0.5/24", "fd00::5/64"],
                "routes": [
                    ("default", "10.0.0.1", None),
                    ("192.168.0.0/16", "10.0.0.2", 7),
                    ("default", "fd00::1", None),
                ],
                "nameservers": ["10.0.0.3"],
                "search": ["example.org"],
            },
            {"nic": "eth0", "name": "eth0", "dhcp": True},
        ],
        [],
    )


def test_version_1() -> None:
    assert planned(
        """
        network:
          version: 1
          config:
          - type: physical
            name: net0
            mac_address: 52:54:00:00:00:01
            subnets:
            - type: static
              address: 10.0.0.5
              netmask: 255.255.255.0
              gateway: 10.0.0.1
              dns_nameservers: [10.0.0.3]
            - {type: dhcp}
          - {type: nameserver, address: [9.9.9.9], search: example.org}
        """
    ) == (
        [
            {
                "nic": "eth0",
                "name": "net0",
                "dhcp": True,
                "addresses": ["10.0.0.5/24"],
                "routes": [("default", "10.0.0.1", None)],
                "nameservers": ["10.0.0.3", "9.9.9.9"],
                "search": ["example.org"],
            }
        ],
        [],
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{version: 3}", "version 3 is neither 1 nor 2"),
        (
            "{version: 2, ethernets: {eth0: {dhcp4: true, wakeonlan: true}}}",
            "ethernets.eth0: wakeonlan is not supported",
        ),
        ("{version: 2, bonds: {bond0: {}}}", "bonds is not supported"),
        (
            "{version: 2, ethernets: {x: {match: {macaddress: '00:00:00:00:00:09'}}}}",
            "ethernets.x: no NIC is 00:00:00:00:00:09",
        ),
        ("{version: 2, ethernets: {eth0: {addresses: [10.0.0.300/24]}}}", "ethernets.eth0: not of the form"),
        ("{version: 2, ethernets: {eth0: [1]}}", "ethernets.eth0: "),
        ("{version: 1, config: [{type: bond, name: b0}]}", "item 1 (bond b0): type 'bond' is not supported"),
        (
            "{version: 1, config: [{type: physical, name: eth0, subnets: [{type: ipv6_slaac}]}]}",
            "'ipv6_slaac' is not supported",
        ),
        ("{version: 1, config: [{type: nameserver, address: 1.1.1.1}]}", "nameservers come after"),
        ("{version: 1, config: [{type: physical, name: eth7}]}", "no NIC is eth7; there are eth0 (52:54"),
    ],
)
def test_what_is_not_supported_is_named(text: str, problem: str) -> None:
    problems = planned(text)[1]
    assert len(problems) == 1
    assert problem in problems[0]


def test_a_refused_nic_does_not_stop_the_others() -> None:
    setups, problems = planned("{version: 2, ethernets: {eth9: {dhcp4: true}, eth1: {dhcp4: true}}}")
    assert ([setup["nic"] for setup in setups], len(problems)) == (["eth1"], 1)


def test_commands_of_a_nic() -> None:
    setups, _ = netplan.plan(
        yaml.safe_load(
            "{version: 2, ethernets: {eth0: {set-name: lan0, mtu: 1400, addresses: [10.0.0.5/24], "
            "gateway4: 10.0.0.1, routes: [{to: 'fd01::/64', via: 'fd00::1', metric: 5}]}}}"
        ),
        NICS,
    )
    assert [" ".join(command) for command in network.before_up(setups[0])] == [
        "ip link set eth0 down",
        "ip link set eth0 name lan0",
        "ip link set lan0 mtu 1400",
    ]
    assert [" ".join(command) for command in network.after_up(setups[0])] == [
        "ip address replace 10.0.0.5/24 dev lan0",
        "ip route replace default via 10.0.0.1 dev lan0",
        "ip -6 route replace fd01::/64 via fd00::1 dev lan0 metric 5",
    ]


def test_a_nic_with_dhcp_alone_needs_one_program(guest: ScratchGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Path(guest.path("/usr/bin/udhcpc"))
    guest.write("/usr/bin/udhcpc", b'#!/bin/sh\necho "$@" >"$0.told"\n', 0o755)
    monkeypatch.setenv("PATH", str(client.parent))
    setups, _ = netplan.plan({"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}, NICS)
    started = network.Network(guest, Outcome(guest))
    started.start(setups, "web")
    started.wait_for_all()
    assert guest.kernel == [("up", "lo"), ("up", "eth0")]
    assert guest.told == []
    assert guest.read("/usr/bin/udhcpc.told").endswith("-i eth0 -x hostname:web\n")


def test_a_nic_that_cannot_be_switched_on_is_a_failure(tmp_path: Path) -> None:
    guest = Guest(str(tmp_path))
    outcome = Outcome(guest)
    network.Network(guest, outcome).start([netplan.Setup("no-such-nic")], "")
    assert outcome.failures == [
        {"module": "network-config", "message": "no-such-nic cannot be switched on: No such device"}
    ]
