"""Rules of a network with a thousand NICs: the whole, one NIC more, another rule; from the wish to the kernel.

Beside it stands the same text through libnftables in our own process, which would spare a program's start.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Callable, Sequence

import msgspec
from tests.firewall.street import a_place
from tests.firewall.wanted import a_group, a_network, a_port, a_rule, a_subnet, all_of

from bench.table import Row, Section, limited, median_ms, spread
from guesthouse.formats.netfilter import change, inside
from guesthouse.model.network import NetworkWanted

NICS, GROUPS, ROUNDS = 1000, 50, 21
TAG = "ab12"
Say = Callable[[str], None]


def measure(say: Say) -> Section:
    """Times of whole and partial texts, in a namespace of the bench's own."""
    return a_place().within(lambda: _measure(say))


def _measure(say: Say) -> Section:
    full = _a_network()
    fewer = msgspec.structs.replace(full, ports=full.ports[:-1])
    group = full.groups[3]
    shorter = msgspec.structs.replace(group, rules=group.rules[:-1])
    other = msgspec.structs.replace(full, groups=(*full.groups[:3], shorter, *full.groups[4:]))
    library = _Library()
    say(f"{NICS} NICs in {GROUPS} groups, {ROUNDS} rounds")
    whole = [_timed(lambda: _nft(inside(full, TAG))) for _ in range(5)]
    rows = [limited(f"all rules of {NICS:,} NICs in {GROUPS} groups", whole, 1000)]
    for what, before, after, limit_ms in (
        ("one NIC more", fewer, full, 20),
        ("one NIC less", full, fewer, 50),
        ("a rule less in a group of 40 NICs", full, other, 50),
        ("a rule more", other, full, 50),
    ):
        ours, beside = (_there_and_back(before, after, apply) for apply in (_nft, library.run))
        rows.append(limited(what, ours, limit_ms, f"{spread(beside)}: libnftables"))
    writing = [_timed(lambda: change(fewer, full, TAG)) for _ in range(ROUNDS)]
    rows.append(Row("of that, to write what one NIC more is", f"{median_ms(writing):.1f} ms"))
    return Section("Rules of networks", rows)


def _a_network() -> NetworkWanted:
    """Each port in two groups, each group with a handful of rules, most of them about another group."""
    subnet = a_subnet(1, "10.0.0.0/16", "fd00:1::/64")
    ids = [a_group(number).id for number in range(GROUPS)]
    groups = [
        a_group(
            number,
            *all_of("out"),
            *(a_rule("in", "tcp", (port, port), group=ids[(number + port) % GROUPS]) for port in range(100, 105)),
            a_rule("in", "tcp", (80, 80), cidr="0.0.0.0/0"),
        )
        for number in range(GROUPS)
    ]
    lots: Sequence[tuple[str, ...]] = [(ids[number], ids[(number + 7) % GROUPS]) for number in range(GROUPS)]
    ports = [a_port(number, lots[number % GROUPS], subnet=subnet) for number in range(1, NICS + 1)]
    return a_network("private", ports, groups, subnets=[subnet])


def _there_and_back(before: NetworkWanted, after: NetworkWanted, apply: Callable[[str], None]) -> list[float]:
    """How long each way from one network to another takes; the way back is not counted."""
    _nft(inside(before, TAG))
    samples = []
    for _ in range(ROUNDS):
        samples.append(_timed(lambda: apply(change(before, after, TAG))))
        apply(change(after, before, TAG))
    return samples


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _nft(text: str) -> None:
    subprocess.run(("nft", "-f", "-"), input=text.encode(), check=True)


class _Library:
    """libnftables, in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnftables.so.1")
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        self._context = self._library.nft_ctx_new(0)

    def run(self, text: str) -> None:
        assert self._library.nft_run_cmd_from_buffer(self._context, text.encode()) == 0
