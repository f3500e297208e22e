"""How many connections a machine may begin: the kernel counts, and forgets those that have ended."""

from __future__ import annotations

import pytest
from tests.firewall.box import FAR, FAR6, UPLINK, Box, alone
from tests.firewall.frames import ACK, IPV4, IPV6, SYN, frame, tcp, udp
from tests.firewall.wanted import a_network, a_port, a_subnet

from guesthouse.formats.netfilter import inside
from guesthouse.model.network import NetworkWanted

LIMIT = 5
RST = 0x04
ASKER, ASKED, OTHER = 1, 2, 3


def a_limited(connections: int = LIMIT) -> NetworkWanted:
    ports = [a_port(number) for number in (ASKER, ASKED, OTHER)]
    return a_network("nat", ports, subnets=(a_subnet(),), connections=connections)


class Asking:
    """A machine that begins connections: with a neighbour, its gateway, or the outside."""

    def __init__(self, box: Box, version: int) -> None:
        self.box = box
        self.kind = IPV4 if version == 4 else IPV6
        ports = {each.port.number: each.port for each in box.wanted.ports}
        self.macs = {number: port.mac for number, port in ports.items()}
        self.addresses = {number: port.address if version == 4 else port.address6 for number, port in ports.items()}
        self.addresses[UPLINK] = FAR if version == 4 else FAR6
        subnet = box.wanted.subnets[0]
        self.gateway = subnet.gateway if version == 4 else subnet.gateway6

    def comes(self, target: int, asks_from: int, source: int = ASKER) -> bool:
        """Whether a first datagram from this port of the source arrives."""
        payload = udp(self.addresses[source], self.addresses[target], (asks_from, 53), b"one of many datagrams")
        got = self.box.send(source, self._frame(source, target, payload))
        return any(each[-20:] == payload[-20:] for each in got[target])

    def _frame(self, source: int, target: int, payload: bytes) -> bytes:
        hop = self.macs[target] if target in self.macs else self.box.gateway_mac(source)
        return frame(self.macs[source], hop, self.kind, payload)

    def segment(self, source: int, target: int, ports: tuple[int, int], flags: int, at: tuple[int, int]) -> bool:
        payload = tcp(self.addresses[source], self.addresses[target], ports, flags, at)
        return any(
            each[-8:] == payload[-8:] for each in self.box.send(source, self._frame(source, target, payload))[target]
        )

    def ask_the_gateway(self, asks_from: int) -> None:
        payload = udp(self.addresses[ASKER], self.gateway, (asks_from, 53), b"where is it")
        self.box.send(ASKER, frame(self.macs[ASKER], self.box.gateway_mac(ASKER), self.kind, payload))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("target", [ASKED, UPLINK], ids=["neighbour", "outside"])
def test_a_machine_begins_so_many_and_no_more(target: int, version: int) -> None:
    def look() -> None:
        asking = Asking(Box(a_limited()), version)
        assert [asking.comes(target, 1000 + number) for number in range(LIMIT + 3)] == [True] * LIMIT + [False] * 3
        assert asking.comes(target, 1000), "what it has begun goes on"
        assert asking.comes(target, 1000, OTHER), "another one has a number of its own"
        assert asking.comes(ASKER, 1001, OTHER), "what others begin is theirs"

    alone(look)


def test_what_is_asked_of_the_gateway_counts_too() -> None:
    def look() -> None:
        asking = Asking(Box(a_limited()), 4)
        for number in range(LIMIT):
            asking.ask_the_gateway(2000 + number)
        assert not asking.comes(UPLINK, 1000)

    alone(look)


def test_one_that_has_ended_makes_room() -> None:
    def look() -> None:
        asking = Asking(Box(a_limited()), 4)
        assert all(asking.segment(ASKER, ASKED, (1000 + n, 80), SYN, (1, 0)) for n in range(LIMIT))
        assert not asking.segment(ASKER, ASKED, (1999, 80), SYN, (1, 0))
        assert asking.segment(ASKED, ASKER, (80, 1000), SYN | ACK, (1, 2))
        assert asking.segment(ASKER, ASKED, (1000, 80), ACK, (2, 2))
        assert asking.segment(ASKER, ASKED, (1000, 80), RST | ACK, (2, 2))
        # The kernel looks for ended ones once in a tick of its clock: a guest asks again until then.
        assert any(asking.segment(ASKER, ASKED, (1999, 80), SYN, (1, 0)) for _ in range(1000))
        assert not asking.segment(ASKER, ASKED, (1998, 80), SYN, (1, 0))

    alone(look)


def test_without_a_limit_nothing_is_counted() -> None:
    assert "ct count" not in inside(a_limited(0), "ab12")

    def look() -> None:
        asking = Asking(Box(a_limited(0)), 4)
        assert all(asking.comes(ASKED, 1000 + number) for number in range(LIMIT + 3))

    alone(look)
