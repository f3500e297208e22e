"""How many connections a NIC may begin at a time: a part of what the host can remember of all of them.

The kernel remembers connections in one table for each network namespace, all of one size, which the host's owner sets.
What a machine begins is in its network's table, and in the host's where it goes out: no machine fills either alone.
"""

from __future__ import annotations

import msgspec

from guesthouse.host.networks.namespace import read_sysctl
from guesthouse.model.network import NetworkWanted

TABLE_SIZE, TABLE_FILL = "net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count"
_USUAL, _PART = 262144, 16


def connections(table_size: int) -> int:
    """How many, where a table has this size; 0, any number, where it may grow without end."""
    return -(-table_size // _PART)


def limited(wanted: NetworkWanted) -> NetworkWanted:
    """The network with the limit that this host has."""
    return msgspec.structs.replace(wanted, connections=connections(int(read_sysctl(TABLE_SIZE) or _USUAL)))
