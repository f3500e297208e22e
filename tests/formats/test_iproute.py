"""What ip tells, and the lines that make links and routes as they are wanted. That ip takes them: tests/host."""

from __future__ import annotations

from guesthouse.formats import iproute
from guesthouse.formats.iproute import Address, Kind, Link, LinkWanted, Proxy, Route

BRIDGE = LinkWanted(
    name="br1", mtu=1450, make=iproute.bridge("br1", "02:67:68:00:00:01"), mac="02:67:68:00:00:01",
    addresses=("10.0.0.1/24", "fd00::1/64"),
)  # fmt: skip
THERE = Link(
    "br1", ("UP",), 1450, address="02:67:68:00:00:01", linkinfo=Kind("bridge"),
    addr_info=(Address("10.0.0.1", 24, "global"), Address("fd00::1", 64, "global"), Address("fe80::1", 64, "link")),
)  # fmt: skip


def test_what_ip_prints_is_read() -> None:
    text = """[{"ifname":"br1","flags":["UP","BROADCAST"],"mtu":1450,"address":"02:67:68:00:00:01","link_type":"ether",
        "linkinfo":{"info_kind":"bridge","info_data":{"ageing_time":30000}},"ifindex":2,
        "addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"scope":"global"}]},{}]"""
    (link,) = iproute.read_links(text).values()
    assert (link.is_up, link.mtu, link.linkinfo.info_kind, link.addresses) == (True, 1450, "bridge", {"10.0.0.1/24"})
    assert iproute.read_routes("") == ()
    (route,) = iproute.read_routes('[{"dst":"default","gateway":"10.0.0.1","dev":"eth0","flags":[]}]')
    assert route == Route("default", "eth0", "10.0.0.1")
    (proxy,) = iproute.read_proxies('[{"dst":"203.0.113.9","dev":"eth0","proxy":null,"protocol":"103"}]')
    assert proxy == Proxy("203.0.113.9", "eth0", "103")


def test_a_link_that_is_not_there_is_made_whole() -> None:
    assert list(iproute.mend_links([BRIDGE], {})) == [
        "link add br1 address 02:67:68:00:00:01 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "link set br1 mtu 1450",
        "address add 10.0.0.1/24 dev br1",
        "address add fd00::1/64 dev br1 nodad",
        "link set br1 up",
    ]


def test_a_link_that_is_as_wanted_is_left() -> None:
    assert list(iproute.mend_links([BRIDGE], {"br1": THERE})) == []


def test_only_what_differs_is_mended() -> None:
    other = Link("br1", (), 1500, address="02:00:00:00:00:09", addr_info=(Address("10.9.0.1", 24),), master="x")
    assert list(iproute.mend_links([BRIDGE], {"br1": other})) == [
        "link set br1 address 02:67:68:00:00:01",
        "link set br1 mtu 1450",
        "link set br1 nomaster",
        "address delete 10.9.0.1/24 dev br1",
        "address add 10.0.0.1/24 dev br1",
        "address add fd00::1/64 dev br1 nodad",
        "link set br1 up",
    ]


def test_what_is_not_ours_to_make_is_mended_where_it_is() -> None:
    tap = LinkWanted(name="tap1", mtu=1450, master="br1")
    assert list(iproute.mend_links([tap], {})) == []
    assert list(iproute.mend_links([tap], {"tap1": Link("tap1", ("UP",), 1450)})) == ["link set tap1 master br1"]


def test_routes_of_ours_come_and_go_and_others_stay() -> None:
    ours = Route("10.0.0.0/24", "gh0-1", "100.64.0.1", iproute.PROTOCOL)
    seen = (ours, Route("10.1.0.0/24", "gh0-1", "100.64.0.1", "static"), Route("10.2.0.0/24", "gh0-2", "x", "103"))
    new = Route("10.3.0.0/24", "gh0-1", "100.64.0.1")
    assert list(iproute.mend_routes([new], seen, {"gh0-1"})) == [
        "route delete 10.0.0.0/24 via 100.64.0.1 dev gh0-1 protocol 103",
        "route add 10.3.0.0/24 via 100.64.0.1 dev gh0-1 protocol 103",
    ]


def test_neighbours_of_ours_come_and_go_and_others_stay() -> None:
    seen = (Proxy("203.0.113.8", "wan0", "103"), Proxy("203.0.113.9", "wan0"), Proxy("203.0.113.7", "wan0", "103"))
    lines = list(iproute.mend_proxies([Proxy("203.0.113.5", "wan0")], seen, {"203.0.113.8", "203.0.113.9"}))
    assert lines == [
        "neighbour delete proxy 203.0.113.8 dev wan0",
        "neighbour add proxy 203.0.113.5 dev wan0 protocol 103",
    ]
    assert list(iproute.mend_proxies([Proxy("203.0.113.9", "wan0")], seen, ())) == []
