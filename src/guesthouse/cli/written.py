"""What people write on the command line, read into the values that the native door takes.

Rules
-----
1. A reader takes the text of one parameter and returns what goes into the request; it raises `Invalid`
   naming what it could not read, and how it is written.
2. A compound value is ``key=value,key=value``; its keys are rows of a table. A key that is no row is refused.
3. What only the house can judge (does the image exist, is the port free) is left to the house.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guesthouse.model.errors import Invalid
from guesthouse.model.sizes import parse_mib

_YES = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
# What may pass -> what stands between its two numbers, and which number means all of them.
_PASSING: Mapping[str, tuple[str, int] | None] = {
    "any": None, "tcp": ("-", 0), "udp": ("-", 0), "icmp": ("/", -1), "icmp6": ("/", -1),
}  # fmt: skip
_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600}


def size(text: str) -> int:
    """``512M``, ``10G`` -> MiB."""
    return parse_mib(text, "size")


def limit(text: str) -> int | None:
    """A number, or ``unlimited`` -> None."""
    return None if text == "unlimited" else whole(text)


def size_limit(text: str) -> int | None:
    """A size, or ``unlimited`` -> None."""
    return None if text == "unlimited" else size(text)


def percent(text: str) -> int | None:
    """Percent, with or without the sign, or ``unlimited`` -> None."""
    return limit(text.removesuffix("%"))


def ratio(text: str) -> float | None:
    """A number that may have a fraction, or ``unlimited`` -> None."""
    if text == "unlimited":
        return None
    try:
        return float(text)
    except ValueError:
        raise Invalid(f"{text!r} is not a number", value=text, hint="write it like 4 or 1.5") from None


def whole(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise Invalid(f"{text!r} is not a whole number", value=text, hint="write digits only, like 4")
    return int(text)


def truth(text: str) -> bool:
    """``yes`` or ``no``, as switches are written in ``key=value``."""
    if text.lower() not in _YES:
        raise Invalid(f"{text!r} is neither yes nor no", value=text, hint="write yes or no")
    return _YES[text.lower()]


def seconds(text: str) -> int:
    """``90``, ``90s``, ``5m``, ``1h`` -> seconds."""
    unit = text[-1:].lower()
    number, factor = (text[:-1], _DURATION_UNITS[unit]) if unit in _DURATION_UNITS else (text, 1)
    if not (number.isascii() and number.isdigit()):
        raise Invalid(f"{text!r} is not a length of time", value=text, hint="write it like 90s, 5m or 1h")
    return int(number) * factor


def port(text: str) -> int:
    """A TCP or UDP port, 1-65535."""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 65535:
        raise Invalid(f"{text!r} is not a port", value=text, hint="ports go from 1 to 65535")
    return int(text)


def listening(text: str) -> tuple[str, int]:
    """``8080``, ``127.0.0.1:8080``, ``[::1]:8080`` -> where to listen; the loopback where no address is said."""
    host, colon, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if colon and not host:
        raise Invalid(f"{text!r} names no address", value=text, hint="write it like 127.0.0.1:8080, or 8080 alone")
    return host or "127.0.0.1", port(number)


def forward(text: str) -> dict[str, object]:
    """``8080:80``, ``80`` (the house chooses the host's port), ``5353:53/udp`` -> a forward."""
    ports, slash, protocol = text.partition("/")
    if slash and protocol not in ("tcp", "udp"):
        raise Invalid(f"{text!r}: {protocol!r} is not a protocol", value=text, hint="write tcp or udp after the slash")
    host, colon, guest = ports.rpartition(":")
    read: dict[str, object] = {"guest_port": port(guest)}
    if colon:
        read["host_port"] = port(host)
    if slash:
        read["protocol"] = protocol
    return read


def passing(text: str) -> dict[str, object]:
    """``tcp:80``, ``udp:8000-8100``, ``icmp:3/4`` (type and code), ``any`` -> a rule's protocol and numbers."""
    protocol, colon, numbers = text.partition(":")
    if protocol not in _PASSING or (colon and not _PASSING[protocol]):
        hint = "write any, tcp, tcp:80, udp:8000-8100, icmp, icmp6, icmp:8 or icmp:3/4"
        raise Invalid(f"{text!r} is nothing that could pass", value=text, hint=hint)
    between, every = _PASSING[protocol] or ("-", 0)
    if not colon:
        return {"protocol": protocol, "first_port": every, "last_port": every}
    first, both, last = numbers.partition(between)
    if protocol in ("tcp", "udp"):
        return {"protocol": protocol, "first_port": port(first), "last_port": port(last) if both else port(first)}
    return {"protocol": protocol, "first_port": whole(first), "last_port": whole(last) if both else every}


def host_path(text: str) -> str:
    """A file of the host, by its whole path: the daemon has another working directory."""
    from pathlib import Path

    return str(Path(text).expanduser().absolute())


def host_path_or_url(text: str) -> str:
    """A URL as it is, anything else as a file of the host."""
    return text if "://" in text else host_path(text)


def label(text: str) -> tuple[str, str]:
    """``key=value`` -> the pair."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise Invalid(f"{text!r} is not a label", field="label", value=text, hint="write it like role=web")
    return key, value


def keeping(text: str) -> tuple[str, bool]:
    """``data=yes`` -> a disk's name, and whether it outlasts its machine."""
    name, equals, said = text.partition("=")
    if not equals or not name:
        raise Invalid(f"{text!r} says of no disk whether to keep it", value=text, hint="write it like data=yes")
    return name, truth(said)


# Key of a compound value -> (field of the request, reader).
DISK_KEYS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "name": ("name", str),
    "disk": ("disk", str),
    "size": ("size_mib", size),
    "format": ("format", str),
    "thin": ("thin", truth),
    "bus": ("bus", str),
    "cache": ("cache", str),
    "keep": ("keep", truth),
}

NIC_KEYS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "model": ("model", str),
    "mac": ("mac", str),
    "network": ("network", str),
    "subnet": ("subnet", str),
    "address": ("address", str),
    "groups": ("groups", lambda text: text.split("+")),
    "public": ("public", truth),
}


# What is written of the metadata service -> (field of the request, reader).
METADATA_KEYS: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "enabled": ("enabled", truth),
    "tokens": ("tokens_required", lambda text: _one_of(text, {"required": True, "optional": False})),
    "hop-limit": ("hop_limit", whole),
    "ipv6": ("ipv6", truth),
    "labels": ("labels", truth),
    "dialects": ("dialects", lambda text: text.split("+")),
}


def metadata(text: str) -> dict[str, Any]:
    """``tokens=optional,hop-limit=2`` -> options of the metadata service."""
    return _compound(text, "metadata", METADATA_KEYS)


def _one_of(text: str, words: Mapping[str, object]) -> object:
    if text not in words:
        raise Invalid(f"{text!r} is neither {' nor '.join(words)}", value=text, hint=f"write {' or '.join(words)}")
    return words[text]


def disk(text: str) -> dict[str, Any]:
    """``10G`` (the root disk's size) or ``name=data,size=10G,format=raw`` -> a disk of a machine."""
    return {"size_mib": size(text)} if "=" not in text else _compound(text, "disk", DISK_KEYS)


def nic(text: str) -> dict[str, Any]:
    """``e1000`` or ``network=back,address=10.0.0.5,groups=web+db`` -> a network card."""
    return {"model": text} if "=" not in text else _compound(text, "nic", NIC_KEYS)


def _compound(text: str, what: str, keys: Mapping[str, tuple[str, Callable[[str], object]]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or key not in keys:
            raise Invalid(
                f"{what}: {part!r} is not one of its settings",
                field=what,
                value=text,
                hint=f"{what} takes {', '.join(f'{known}=…' for known in keys)}",
            )
        name, reader = keys[key]
        if name in read:
            raise Invalid(f"{what}: {key} is given twice", field=what, value=text)
        try:
            read[name] = reader(value)
        except Invalid as error:
            raise Invalid(f"{what} {key}: {error}", field=what, value=value, hint=error.hint) from None
    return read
