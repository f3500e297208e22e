"""network-config, versions 1 and 2, turned into what to do with each NIC. Touches nothing.

Source: cloud-init's reference, "Networking config Version 1" and "Version 2".
"""

from __future__ import annotations

import fnmatch

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any


class Setup:
    """What to do with one NIC: names as the kernel has them now, addresses as ADDRESS/PREFIX."""

    def __init__(self, nic: str, dhcp: bool = False) -> None:
        self.nic = nic
        self.name = nic
        self.dhcp = dhcp
        self.mtu: int | None = None
        self.addresses: list[str] = []
        self.routes: list[tuple[str, str, int | None]] = []  # destination or "default", gateway, metric
        self.nameservers: list[str] = []
        self.search: list[str] = []


def plan(config: dict[str, Any] | None, nics: Mapping[str, str]) -> tuple[list[Setup], list[str]]:
    """Setups for NICs (name → MAC) and what of the configuration is refused. No configuration: DHCP on all."""
    if config is None:
        return [Setup(name, dhcp=True) for name in sorted(nics)], []
    config = config.get("network", config)
    problems: list[str] = []
    version = config.get("version") if isinstance(config, dict) else None
    if version not in _VERSIONS:
        return [Setup(name, dhcp=True) for name in sorted(nics)], [f"version {version!r} is neither 1 nor 2"]
    if config.get("config") == "disabled":
        return [], []
    setups: list[Setup] = []
    for what, make in _VERSIONS[version](config, problems):
        try:
            setups.extend(make(nics, setups))
        except Refused as problem:
            problems.append(f"{what}: {problem}")
        except (TypeError, AttributeError, ValueError) as problem:
            problems.append(f"{what}: not of the form that is expected here ({problem})")
    return setups, problems


def macs(config: dict[str, Any] | None) -> set[str]:
    """The MACs of all NICs that a configuration names by them, of whatever form it is."""
    config = (config or {}).get("network", config or {})
    try:
        if config.get("version") == 1:
            named = [item.get("mac_address") for item in config["config"] if item.get("type") in _TYPES_1]
        else:
            named = [(item.get("match") or {}).get("macaddress") for item in config["ethernets"].values()]
    except (KeyError, TypeError, AttributeError):
        return set()  # `plan` says what is wrong with it
    return {_mac(mac) for mac in named if mac}


# --- version 1 -----------------------------------------------------------------------------------------------

_SUBNET_TYPES = {"dhcp": True, "dhcp4": True, "static": False, "static4": False, "static6": False, "manual": False}
_PHYSICAL_KEYS = {"type", "name", "mac_address", "mtu", "subnets", "accept-ra"}
_SUBNET_KEYS = {
    "type",
    "address",
    "netmask",
    "gateway",
    "dns_nameservers",
    "dns_search",
    "routes",
    "control",
    "ipv4",
    "ipv6",
}
_ROUTE_KEYS = {"network", "destination", "netmask", "gateway", "metric"}


def _version_1(config: dict[str, Any], problems: list[str]) -> Iterable[tuple[str, Callable[..., list[Setup]]]]:
    for number, item in enumerate(config.get("config") or (), start=1):
        kind = item.get("type")
        what = f"item {number} ({kind} {item.get('name', '')})".replace(" )", ")")
        if kind not in _TYPES_1:
            problems.append(f"{what}: type {kind!r} is not supported; known are {', '.join(_TYPES_1)}")
        else:
            yield what, _bound(_TYPES_1[kind], item)


def _bound(make: Callable[..., list[Setup]], *first: Any) -> Callable[..., list[Setup]]:
    return lambda *rest: make(*first, *rest)


def _physical(item: dict[str, Any], nics: Mapping[str, str], done: list[Setup]) -> list[Setup]:
    _check_keys(item, _PHYSICAL_KEYS)
    name = str(item.get("name") or "")
    mac = _mac(item.get("mac_address"))
    setup = Setup(_nic_of(nics, lambda nic, its_mac: its_mac == mac if mac else nic == name, mac or name))
    setup.name = name or setup.nic
    setup.mtu = item.get("mtu")
    for subnet in item.get("subnets") or ():
        _check_keys(subnet, _SUBNET_KEYS)
        if subnet.get("type") not in _SUBNET_TYPES:
            raise Refused(f"subnet type {subnet.get('type')!r} is not supported; known are {', '.join(_SUBNET_TYPES)}")
        setup.dhcp |= _SUBNET_TYPES[subnet["type"]]
        _add_subnet(setup, subnet)
    return [setup]


def _add_subnet(setup: Setup, subnet: dict[str, Any]) -> None:
    if subnet.get("address"):
        setup.addresses.append(_address(subnet["address"], subnet.get("netmask")))
    if subnet.get("gateway"):
        setup.routes.append(("default", _plain_address(subnet["gateway"]), None))
    for route in subnet.get("routes") or ():
        _check_keys(route, _ROUTE_KEYS)
        destination = route.get("destination") or route.get("network")
        setup.routes.append(
            (_network(destination, route.get("netmask")), _plain_address(route["gateway"]), route.get("metric"))
        )
    setup.nameservers += [_plain_address(server) for server in _list(subnet.get("dns_nameservers"))]
    setup.search += _list(subnet.get("dns_search"))


def _nameserver(item: dict[str, Any], nics: Mapping[str, str], done: list[Setup]) -> list[Setup]:
    _check_keys(item, {"type", "address", "search", "interface"})
    if not done:
        raise Refused("nameservers come after the interfaces that they are for")
    done[-1].nameservers += [_plain_address(server) for server in _list(item.get("address"))]
    done[-1].search += _list(item.get("search"))
    return []


_TYPES_1 = {"physical": _physical, "nameserver": _nameserver}


# --- version 2 -----------------------------------------------------------------------------------------------

_TOP_KEYS = {"version", "renderer", "ethernets"}
_ETHERNET_KEYS = {
    "match", "set-name", "dhcp4", "dhcp6", "addresses", "gateway4", "gateway6", "routes", "nameservers", "mtu",
    "optional", "dhcp-identifier", "accept-ra",
}  # fmt: skip


def _version_2(config: dict[str, Any], problems: list[str]) -> Iterable[tuple[str, Callable[..., list[Setup]]]]:
    problems += [f"{key} is not supported" for key in map(str, config) if key not in _TOP_KEYS]
    for name, ethernet in (config.get("ethernets") or {}).items():
        yield f"ethernets.{name}", _bound(_ethernet, str(name), ethernet or {})


def _ethernet(id: str, item: dict[str, Any], nics: Mapping[str, str], done: list[Setup]) -> list[Setup]:
    _check_keys(item, _ETHERNET_KEYS)
    match = item.get("match") or {"name": id}
    _check_keys(match, {"macaddress", "name"})
    mac, pattern = _mac(match.get("macaddress")), str(match.get("name") or "*")
    setup = Setup(
        _nic_of(
            nics,
            lambda nic, its_mac: (not mac or its_mac == mac) and fnmatch.fnmatchcase(nic, pattern),
            mac or pattern,
        )
    )
    setup.name = str(item.get("set-name") or setup.nic)
    setup.dhcp = bool(item.get("dhcp4"))
    setup.mtu = item.get("mtu")
    setup.addresses = [_address(address, None) for address in item.get("addresses") or ()]
    gateways = (item.get(key) for key in ("gateway4", "gateway6"))
    setup.routes = [("default", _plain_address(gateway), None) for gateway in gateways if gateway]
    for route in item.get("routes") or ():
        _check_keys(route, {"to", "via", "metric", "on-link"})
        setup.routes.append((_network(route["to"], None), _plain_address(route["via"]), route.get("metric")))
    servers = item.get("nameservers") or {}
    _check_keys(servers, {"addresses", "search"})
    setup.nameservers = [_plain_address(server) for server in _list(servers.get("addresses"))]
    setup.search = _list(servers.get("search"))
    return [setup]


_VERSIONS: dict[Any, Callable[..., Iterable[tuple[str, Callable[..., list[Setup]]]]]] = {1: _version_1, 2: _version_2}


# --- both ----------------------------------------------------------------------------------------------------


def _check_keys(item: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(map(str, item)) - known)
    if unknown:
        raise Refused(f"{', '.join(unknown)} is not supported; known are {', '.join(sorted(known))}")


def _nic_of(nics: Mapping[str, str], fits: Callable[[str, str], bool], wanted: str) -> str:
    for nic in sorted(nics):
        if fits(nic, nics[nic].lower()):
            return nic
    raise Refused(f"no NIC is {wanted}; there are {', '.join(f'{nic} ({mac})' for nic, mac in sorted(nics.items()))}")


def _mac(value: Any) -> str:
    if isinstance(value, int):
        # YAML 1.1 reads a MAC of decimal digits that is not quoted (52:54:00:12:34:56) as a number to base 60.
        return ":".join(f"{value // 60**place % 60:02d}" for place in (5, 4, 3, 2, 1, 0))
    return str(value or "").lower()


def _list(value: Any) -> list[str]:
    return [] if value is None else value.split() if isinstance(value, str) else [str(part) for part in value]


# `ipaddress` is imported where it is used: most boots ask DHCP for everything.


def _address(address: Any, netmask: Any) -> str:
    import ipaddress

    text = str(address) if netmask is None or "/" in str(address) else f"{address}/{netmask}"
    return str(ipaddress.ip_interface(text))


def _plain_address(address: Any) -> str:
    import ipaddress

    return str(ipaddress.ip_address(str(address)))


def _network(destination: Any, netmask: Any) -> str:
    import ipaddress

    text = str(destination) if netmask is None or "/" in str(destination) else f"{destination}/{netmask}"
    if text in ("default", "0.0.0.0/0", "::/0"):
        return "default"
    return str(ipaddress.ip_network(text, strict=False))
