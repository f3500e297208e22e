"""What is said to slirp4netns over its socket, and what it answers: the ports of the host that lead to its network.

Source: slirp4netns(1), "API SOCKET": a JSON object a connection; the answer has `return` or `error`. Version 1.2.0
lists without a `return`.
"""

from __future__ import annotations

from typing import Any

import msgspec

ADDRESS, NAME_SERVER, DEVICE = "10.0.2.100", "10.0.2.3", "tap0"
"""What slirp4netns gives itself, and the name server that asks the host's for us: its documented addresses."""
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - ports of networks are ports of all of the host's addresses

Forward = tuple[str, int]
"""A port of the host: its protocol and number."""


class _Entry(msgspec.Struct, frozen=True):
    id: int
    proto: str
    host_port: int


class _Entries(msgspec.Struct, frozen=True):
    entries: tuple[_Entry, ...] = ()


class _Fault(msgspec.Struct, frozen=True):
    desc: str = ""


class _Answer(msgspec.Struct, frozen=True):
    returned: Any = msgspec.field(name="return", default=None)
    entries: tuple[_Entry, ...] = ()
    error: _Fault | None = None


def ask_for_forwards() -> bytes:
    """The words that list the ports."""
    return _say("list_hostfwd")


def add_forward(forward: Forward) -> bytes:
    """The words that have a port lead to the same one of the network."""
    protocol, port = forward
    arguments = {
        "proto": protocol, "host_addr": _EVERYWHERE, "host_port": port, "guest_addr": ADDRESS, "guest_port": port,
    }  # fmt: skip
    return _say("add_hostfwd", arguments)


def remove_forward(number: int) -> bytes:
    """The words that take a port away, by the number that it has in the list."""
    return _say("remove_hostfwd", {"id": number})


def read_forwards(answer: bytes) -> dict[Forward, int]:
    """The ports in an answer to `ask_for_forwards`, with their numbers; raises `msgspec.DecodeError`."""
    told = msgspec.json.decode(answer, type=_Answer)
    listed = told.entries or msgspec.convert(told.returned or {}, _Entries).entries
    return {(each.proto, each.host_port): each.id for each in listed}


def read_fault(answer: bytes) -> str:
    """Why something was not done; "" when it was. Raises `msgspec.DecodeError`."""
    told = msgspec.json.decode(answer, type=_Answer)
    return (told.error.desc or "no reason given") if told.error is not None else ""


def _say(what: str, arguments: dict[str, object] | None = None) -> bytes:
    words: dict[str, object] = {"execute": what}
    return msgspec.json.encode(words if arguments is None else {**words, "arguments": arguments})
