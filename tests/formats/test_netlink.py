"""Which messages of the kernel tell of a loss. That the kernel sends them so: tests/host/test_network_drift.py."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.formats.netlink import TABLE_LOST, disturbed, messages


def _message(kind: int, body: bytes) -> bytes:
    return (struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body).ljust((16 + len(body) + 3) & ~3, b"\0")


def _link(index: int, flags: int, changed: int) -> bytes:
    return struct.pack("=BxHiII", 0, 1, index, flags, changed)


CASES = {
    "a link is gone": (_message(17, _link(7, 0, 0)), {7}),
    "a link went down": (_message(16, _link(7, 0, 1)), {7}),
    "a link came up": (_message(16, _link(7, 1, 1)), set()),
    "a link is new": (_message(16, _link(7, 0, 0xFFFF_FFFF)), set()),
    "an address is gone": (_message(21, struct.pack("=BBBBI", 2, 24, 0, 0, 7)), {7}),
    "an address is new": (_message(20, struct.pack("=BBBBI", 2, 24, 0, 0, 7)), set()),
    "a route is gone": (_message(25, bytes(12) + struct.pack("=HHIHHI", 8, 1, 9, 8, 4, 7)), {7}),
    "a route is new": (_message(24, bytes(12) + struct.pack("=HHI", 8, 4, 7)), set()),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_told(case: str) -> None:
    data, lost = CASES[case]
    assert disturbed(data) == lost


def test_all_messages_of_a_datagram_are_read() -> None:
    data = b"".join(data for data, _ in CASES.values()) + _message(TABLE_LOST, b"x")
    assert disturbed(data) == {7}
    assert [kind for kind, _ in messages(data)][-1] == TABLE_LOST


@given(st.binary(max_size=200))
def test_nonsense_is_nothing(data: bytes) -> None:
    disturbed(data)


@given(st.sampled_from(sorted(CASES)), st.integers(0, 40))
def test_a_message_that_is_cut_off_is_no_error(case: str, length: int) -> None:
    disturbed(CASES[case][0][:length])
