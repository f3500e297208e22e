"""What slirp4netns is asked, and what it answers, as its manual shows."""

from __future__ import annotations

import json

from guesthouse.formats import slirp

LISTED = b"""{"return": {"entries": [
    {"id": 42, "proto": "tcp", "host_addr": "0.0.0.0", "host_port": 8080, "guest_addr": "10.0.2.100", "guest_port": 80},
    {"id": 43, "proto": "udp", "host_addr": "0.0.0.0", "host_port": 53, "guest_addr": "10.0.2.100", "guest_port": 53}
]}}"""


def test_ports_are_listed_with_their_numbers() -> None:
    assert json.loads(slirp.ask_for_forwards()) == {"execute": "list_hostfwd"}
    assert slirp.read_forwards(LISTED) == {("tcp", 8080): 42, ("udp", 53): 43}
    bare = LISTED.removeprefix(b'{"return": ').removesuffix(b"}")
    assert slirp.read_forwards(bare) == slirp.read_forwards(LISTED)
    assert slirp.read_forwards(b'{"return": {"entries": []}}') == {}
    assert slirp.read_forwards(b'{"return": {}}') == {}


def test_a_port_leads_to_the_same_one_inside() -> None:
    assert json.loads(slirp.add_forward(("udp", 53))) == {
        "execute": "add_hostfwd",
        "arguments": {
            "proto": "udp",
            "host_addr": "0.0.0.0",
            "host_port": 53,
            "guest_addr": "10.0.2.100",
            "guest_port": 53,
        },
    }
    assert json.loads(slirp.remove_forward(42)) == {"execute": "remove_hostfwd", "arguments": {"id": 42}}


def test_what_was_not_done_has_a_reason() -> None:
    assert slirp.read_fault(b'{"return": {"id": 42}}') == ""
    said = b'{"error": {"desc": "bad request: add_hostfwd: slirp_add_hostfwd failed"}}'
    assert slirp.read_fault(said) == "bad request: add_hostfwd: slirp_add_hostfwd failed"
    assert slirp.read_fault(b'{"error": {}}') == "no reason given"
