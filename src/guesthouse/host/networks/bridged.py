"""The rules of a network in mode ``bridge``, for ``nft -f -``: a port sends from its own MAC address and serves nobody.

Rules
-----
1. Whose the IP addresses are somebody else decides: they are not looked at.
2. A guarded port is no router and gives no addresses: it sends no answers of DHCP and no router advertisements.
3. Frames are of IPv4, IPv6, ARP or RARP; a guarded port sends none with the tag of a VLAN.
4. What comes by the cable is the host's network, and passes.

Source: nft(8); RFC 2131 (DHCP servers send from port 67), RFC 8415 (547), RFC 4861 (router advertisements).
"""

from __future__ import annotations

import textwrap

from guesthouse.formats import links
from guesthouse.formats.netfilter import TABLES, without
from guesthouse.model.network import NetworkWanted


def inside(wanted: NetworkWanted) -> str:
    """The text that makes the rules, whatever there was of `TABLES`."""
    macs = [f'"{links.tap(each.port.number)}" . {each.port.mac}' for each in wanted.ports]
    free = [f'"{links.tap(each.port.number)}"' for each in wanted.ports if not each.port.guarded]
    table = TABLES[0]
    text = f"""\
        table {table} {{
        \tset macs {{
        \t\ttype ifname . ether_addr
        {_elements(macs)}\t}}

        \tset unguarded {{
        \t\ttype ifname
        {_elements(free)}\t}}

        \tchain prerouting {{
        \t\ttype filter hook prerouting priority -310; policy accept;
        \t\tiifname "{links.UPLINK}" accept
        \t\tiifname . ether saddr != @macs drop
        \t\tiifname @unguarded accept
        \t\tether type != {{ arp, ip, ip6, 0x8035 }} drop
        \t\tether type ip udp sport 67 drop
        \t\tether type ip6 udp sport 547 drop
        \t\ticmpv6 type {{ nd-router-advert, nd-redirect }} drop
        \t}}
        }}
        """
    return without(TABLES) + textwrap.dedent(text)


def _elements(elements: list[str]) -> str:
    return f"\t\telements = {{ {', '.join(elements)} }}\n        " if elements else ""
