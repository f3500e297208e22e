"""Rule sets for ``nft -f -``: what a machine's QEMU may not reach on its own host.

Rules
-----
1. A house has one table, named by its folder: houses in different folders do not touch each other's.
2. A text is applied whole or not at all, and as often as one likes: the table is declared, so that there is one,
   deleted, and made anew, in one transaction.
3. What leaves through the loopback device goes to an address of this host, whichever of them. A process of a machine
   opens nothing there. What was opened from the other side, a forwarded port, it may answer.
4. Port 53 is let through: libslirp passes what guests ask of 10.0.2.3 to the host's resolver, often on 127.0.0.53.
5. Refused is rejected, not dropped: the guest sees "connection refused" at once.

Source: nft(8): "meta skuid" is the owner of the socket, which a packet without one has not; "reject" is for the hooks
input, forward and output. A TCP connection is opened by a segment with SYN and without ACK (RFC 9293, 3.5): told by
its flags, connections from before the rules live on. Datagrams have no such mark: there connection tracking tells.
"""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path

DNS_PORT = 53


def table_of(home: Path) -> str:
    """The table of the house in this folder, as nft names it: family and name."""
    return f"inet guesthouse_{hashlib.sha256(bytes(home)).hexdigest()[:8]}"


def fence(table: str, users: range) -> str:
    """The text that makes `table`: processes of `users` open no connection to an address of their own host."""
    rules = f"""\
        table {table} {{
        \tchain output {{
        \t\ttype filter hook output priority filter; policy accept;
        \t\toifname "lo" meta skuid {users.start}-{users.stop - 1} jump machine
        \t}}

        \tchain machine {{
        \t\tmeta l4proto {{ tcp, udp }} th dport {DNS_PORT} accept
        \t\ttcp flags & (syn | ack) == syn reject with tcp reset
        \t\tmeta l4proto tcp accept
        \t\tct state established,related accept
        \t\treject with icmpx port-unreachable
        \t}}
        }}
        """
    return without(table) + textwrap.dedent(rules)


def without(table: str) -> str:
    """The text after which there is no such table."""
    return f"table {table}\ndelete table {table}\n"
