"""What a network is on this box: its links, routes and settings, in its namespace and on the host.

Rules
-----
1. In its namespace a network has a bridge for each subnet, with the gateway's address, and `links.UPLINK`, its end of
   the transit link; the other end is on the host. One in mode ``bridge`` has one bridge, whose uplink is a port of it:
   there the transit link is a cable to the host's bridge, and nothing is routed.
2. The host routes the subnets of ``nat`` and ``host-only`` networks, of ``private`` ones elastic addresses alone.
3. Of the host's own settings one is changed, and only for networks that go out: that it forwards (`FORWARDING`). All
   others are of our links. It is not taken back: by then others may rely on it.
4. Loopback addresses pass a link of a ``nat`` network only, for forwards at the host's 127.0.0.1. That nothing else
   comes by them is the first rule of the host's table; and a namespace takes none from its machines.
5. IPv6 is off where the network has none: no link has addresses that nobody thought of.

Source: Documentation/networking/ip-sysctl.rst; arp(7): a host answers for a neighbour entry ``proxy`` if it forwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network

from guesthouse.formats import iproute, links
from guesthouse.formats.iproute import Link, LinkWanted, Proxy, Route
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6, NetworkMode, NetworkWanted

FORWARDING = "net/ipv4/ip_forward"
FORWARDING6 = "net/ipv6/conf/all/forwarding"
BRIDGED_RULES = ("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables")
"""Whether what a bridge passes on is judged by the rules that remember connections."""
ROUTED = (NetworkMode.NAT, NetworkMode.HOST_ONLY)
GOES_OUT = (NetworkMode.NAT, NetworkMode.PRIVATE)
_LOOPBACK_MTU = 65536
_DEFAULT = "default"


def has_ipv6(wanted: NetworkWanted) -> bool:
    """Whether machines of the network have IPv6 addresses from us."""
    return any(subnet.cidr6 for subnet in wanted.subnets)


def bridge_of(wanted: NetworkWanted, subnet_id: str) -> str:
    """The bridge of a port that is on this subnet; "" where the network has none."""
    number = next((subnet.number for subnet in wanted.subnets if subnet.id == subnet_id), 0)
    return links.bridge(number)


def inside_settings(wanted: NetworkWanted) -> Iterator[tuple[str, str]]:
    """Settings in the namespace, before it has links."""
    routes = "0" if wanted.network.mode is NetworkMode.BRIDGE else "1"
    yield FORWARDING, routes
    for scope in ("all", "default"):
        for name in ("rp_filter", "accept_redirects", "send_redirects", "accept_source_route", "route_localnet"):
            yield f"net/ipv4/conf/{scope}/{name}", "0"
        yield f"net/ipv6/conf/{scope}/disable_ipv6", "0" if has_ipv6(wanted) else "1"
        yield f"net/ipv6/conf/{scope}/accept_ra", "0"
        # Addresses are ours to give: to wait whether somebody else has one would only take its time.
        yield f"net/ipv6/conf/{scope}/accept_dad", "0"
    if has_ipv6(wanted):
        yield FORWARDING6, routes
    for name in BRIDGED_RULES:
        yield name, routes
    yield "net/bridge/bridge-nf-call-arptables", "0"
    # A service inside learns by the mark which port asks.
    yield "net/ipv4/tcp_fwmark_accept", "1"


def inside_links(wanted: NetworkWanted, tag: str, mtu: int) -> Iterator[LinkWanted]:
    """The links in the namespace; those of ports only where they are."""
    six, mode = has_ipv6(wanted), wanted.network.mode
    metadata = (f"{METADATA_IPV4}/32", f"{METADATA_IPV6}/128") if mode is not NetworkMode.BRIDGE else ()
    addresses = ("127.0.0.1/8", "::1/128", *metadata)
    yield LinkWanted(name="lo", mtu=_LOOPBACK_MTU, addresses=_of_versions(addresses, six=six))
    if mode is NetworkMode.BRIDGE:
        yield LinkWanted(name=links.bridge(0), mtu=mtu, make=iproute.bridge(links.bridge(0), ""))
        yield LinkWanted(name=links.UPLINK, mtu=mtu, master=links.bridge(0))
    for subnet in wanted.subnets:
        name, mac = links.bridge(subnet.number), links.gateway_mac(subnet.number)
        own = (_in_subnet(subnet.gateway, subnet.cidr), _in_subnet(subnet.gateway6, subnet.cidr6))
        made = iproute.bridge(name, mac)
        yield LinkWanted(name=name, mtu=mtu, make=made, mac=mac, addresses=_of_versions(own, six=six))
    if mode is not NetworkMode.BRIDGE:
        ends = links.transit(tag, wanted.network.number)
        own = (f"{ends.network}/{ends.prefix}", f"{ends.network6}/{ends.prefix6}")
        yield LinkWanted(name=links.UPLINK, mtu=mtu, addresses=_of_versions(own, six=six))
    for each in wanted.ports:
        yield LinkWanted(name=links.tap(each.port.number), mtu=mtu, master=bridge_of(wanted, each.port.subnet))


def inside_routes(wanted: NetworkWanted, tag: str) -> tuple[Route, ...]:
    """The namespace's routes: all the rest is the host's."""
    if wanted.network.mode is NetworkMode.BRIDGE:
        return ()
    ends = links.transit(tag, wanted.network.number)
    hosts = (ends.host, ends.host6) if has_ipv6(wanted) else (ends.host,)
    return tuple(Route(dst=_DEFAULT, gateway=host, dev=links.UPLINK) for host in hosts)


def surplus(wanted: Iterable[LinkWanted], seen: Mapping[str, Link]) -> Iterator[str]:
    """The lines that remove bridges of subnets that the network has no more."""
    kept = {link.name for link in wanted}
    for link in seen.values():
        if link.linkinfo.info_kind == "bridge" and link.ifname not in kept:
            yield f"link delete {link.ifname}"


def outside_link(wanted: NetworkWanted, tag: str, mtu: int, cable: str) -> LinkWanted:
    """The host's end of the transit link; `cable` is the host's bridge in mode ``bridge``."""
    number = wanted.network.number
    name = links.link(tag, number)
    made = iproute.veth(name, links.UPLINK, links.namespace(tag, number))
    if wanted.network.mode is NetworkMode.BRIDGE:
        return LinkWanted(name=name, mtu=mtu, make=made, master=cable)
    ends = links.transit(tag, number)
    own = (f"{ends.host}/{ends.prefix}", f"{ends.host6}/{ends.prefix6}")
    return LinkWanted(name=name, mtu=mtu, make=made, addresses=_of_versions(own, six=has_ipv6(wanted)))


def outside_settings(wanted: NetworkWanted, tag: str) -> Iterator[tuple[str, str]]:
    """Settings on the host, when the link is there."""
    name, mode = links.link(tag, wanted.network.number), wanted.network.mode
    if mode is not NetworkMode.BRIDGE:
        yield f"net/ipv6/conf/{name}/accept_ra", "0"
    else:
        yield f"net/ipv6/conf/{name}/disable_ipv6", "1"
    if mode is NetworkMode.NAT:
        yield f"net/ipv4/conf/{name}/route_localnet", "1"
    if mode in GOES_OUT:
        yield FORWARDING, "1"


def outside_routes(wanted: NetworkWanted, tag: str) -> tuple[Route, ...]:
    """The host's routes into the network."""
    ends, link = links.transit(tag, wanted.network.number), links.link(tag, wanted.network.number)
    gateways = {4: ends.network, 6: ends.network6}
    mode, found = wanted.network.mode, []
    if mode in ROUTED:
        found += [cidr for subnet in wanted.subnets for cidr in (subnet.cidr, subnet.cidr6) if cidr]
    if mode in GOES_OUT:
        found += [each.elastic for each in wanted.ports if each.elastic]
    return tuple(Route(dst=dst, gateway=gateways[ip_network(dst).version], dev=link) for dst in found)


def outside_proxies(wanted: NetworkWanted, seen: Mapping[str, Link]) -> Iterator[Proxy]:
    """On which of the host's links it answers for which elastic address: where its neighbours would look for it."""
    if wanted.network.mode not in GOES_OUT:
        return
    for elastic in (each.elastic for each in wanted.ports if each.elastic):
        for link in seen.values():
            if any(ip_address(elastic) in ip_interface(own).network for own in link.addresses):
                yield Proxy(dst=elastic, dev=link.ifname)
                break


def way_out(routes: Iterable[Route]) -> str:
    """The host's link to everywhere; "" where there is none."""
    return next((route.dev for route in routes if route.dst == _DEFAULT and route.dev), "")


def _in_subnet(address: str, cidr: str) -> str:
    return f"{address}/{cidr.partition('/')[2]}" if address else ""


def _of_versions(addresses: Iterable[str], *, six: bool) -> tuple[str, ...]:
    return tuple(address for address in addresses if address and (six or ":" not in address))
