"""Ways out of a private network's subnets, and in by elastic addresses; each cell is a datagram in a real namespace."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.firewall.box import FAR, TAG, UPLINK, Box, alone
from tests.firewall.test_ways import passed
from tests.firewall.wanted import a_network, a_port, a_subnet

from guesthouse.formats.links import transit
from guesthouse.model.network import NetworkWanted, Outlet

OWN = transit(TAG, 1).network
LED, GATE = "203.0.113.50", "203.0.113.60"
ONE, OTHER = a_subnet(1), a_subnet(2, "10.0.1.0/24", "fd00:2::/64")


def a_house(outlet: Outlet, gate: str = "") -> NetworkWanted:
    """Ports 1 and 2 in the subnet with this outlet, the second with an elastic address; the gate's is 3, elsewhere."""
    subnet = replace(ONE, outlet=outlet, gate=a_port(3).port.id if gate else "")
    gates = a_port(3, subnet=OTHER, elastic="" if gate == "none" else gate)
    ports = [a_port(1, subnet=subnet), a_port(2, subnet=subnet, elastic=LED), gates]
    return a_network("private", ports, subnets=(subnet, OTHER))


# By which address each of the two goes out, and whether one gets in by the elastic one.
CELLS = [
    (Outlet.ALL, "", OWN, LED, True),
    (Outlet.SHARED, "", OWN, OWN, False),
    (Outlet.ELASTIC, "", None, LED, True),
    (Outlet.NONE, "", None, None, False),
    (Outlet.ALL, GATE, GATE, LED, True),
    (Outlet.SHARED, GATE, GATE, GATE, False),
    (Outlet.SHARED, "none", None, None, False),
    (Outlet.NONE, GATE, None, None, False),
]


@pytest.mark.parametrize(("outlet", "gate", "plain", "led", "comes_in"), CELLS)
def test_who_goes_out_and_who_comes_in(
    outlet: Outlet, gate: str, plain: str | None, led: str | None, *, comes_in: bool
) -> None:
    def look() -> None:
        box = Box(a_house(outlet, gate))
        one, other = (a_port(number).port.address for number in (1, 2))
        for number, address, expected in ((1, one, plain), (2, other, led)):
            assert passed(box, number, UPLINK, address, FAR) == (expected and (expected, FAR))
        assert passed(box, UPLINK, 2, FAR, LED, 4001) == ((FAR, other) if comes_in else None)
        assert passed(box, 1, 2, one, other, 4002) == (one, other), "within the network nothing changes"

    alone(look)


def test_a_way_that_is_taken_ends_what_goes_there() -> None:
    def look() -> None:
        box = Box(a_house(Outlet.ALL))
        one = a_port(1).port.address
        assert passed(box, 1, UPLINK, one, FAR) == (OWN, FAR)
        box.change(a_house(Outlet.SHARED, GATE))
        assert passed(box, 1, UPLINK, one, FAR, 4001) == (GATE, FAR), "the next one takes the new way"
        box.change(a_house(Outlet.ELASTIC))
        assert passed(box, 1, UPLINK, one, FAR) is None, "what was begun before has no way either"

    alone(look)
