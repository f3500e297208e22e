"""How answers are shown: tables, records, JSON, YAML.

Rules
-----
1. The same answer is shown the same way every time; columns come from the row, in its order.
2. A table is as wide as its content. On a terminal too narrow for it, the widest text column is cut with "…";
   where output goes to a program nothing is ever cut.
3. An empty value is "-". Ages have one unit, rounded down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from guesthouse.cli.rows import Column, Document
from guesthouse.model.names import is_id
from guesthouse.model.sizes import show_bytes, show_mib

_GAP = "  "
_NARROWEST = 8


class Now(NamedTuple):
    """The time that ages are counted to, in seconds since the epoch."""

    at: float


def age(seconds: float) -> str:
    """``12s``, ``5m``, ``3h``, ``9d``: one unit, rounded down; a clock that runs ahead makes no negative age."""
    left = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if left >= length:
            return f"{left // length}{unit}"
    return f"{left}s"


def moment(stamp: float) -> str:
    """A time in UTC: ``2026-03-01 12:00:05``."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(stamp))


def milliseconds(value: int) -> str:
    """``23 ms``, ``5.0 s``."""
    return f"{value} ms" if value < 1000 else f"{value / 1000:.1f} s"


def _forwards(value: Any, now: Now) -> str:
    return "\n".join(_forward(**each) for each in value)


def _forward(guest_port: int, host_port: int = 0, protocol: str = "tcp") -> str:
    if host_port:
        return f"{host_port}->{guest_port}/{protocol}"
    return f"{guest_port}/{protocol} from a port of the house's choice"


def _labels(value: Any, now: Now) -> str:
    return ", ".join(f"{key}={value[key]}" for key in sorted(value))


def _details(value: Any, now: Now) -> str:
    """What an event tells, without ids: those are for programs, which take JSON."""
    return _labels({key: each for key, each in value.items() if not is_id(str(each))}, now) or "-"


def _error(value: Any, now: Now) -> str:
    return str(value.get("message", ""))


def _outcome(value: Any, now: Now) -> str:
    if value.get("ok"):
        return "ok"
    failures = [f"{each['module']}: {each['message']}" for each in value.get("failures", ())]
    return "failed" + "".join(f"\n{failure}" for failure in failures)


def _disks(value: Any, now: Now) -> str:
    return "\n".join(f"{each['name']} ({show_mib(each['size_mib'])} {each['format']})" for each in value)


def _held(value: Any, now: Now) -> str:
    return "\n".join(f"{each['name']} ({show_mib(each['size_mib'])})" for each in value)


def _nics(value: Any, now: Now) -> str:
    return "\n".join(" ".join(filter(None, (each["model"], each["mac"], _place(each)))) for each in value)


def _place(nic: dict[str, Any]) -> str:
    """Where a NIC is, empty where it is on no network: ``back 10.0.0.5 (web, db)``."""
    groups = ", ".join(nic.get("groups", ()))
    words = (nic.get("network", ""), nic.get("address", ""), f"({groups})" if groups else "")
    return " ".join(filter(None, words))


def _metadata(value: Any, now: Now) -> str:
    """``tokens required, hop limit 1, ec2+gce+azure``."""
    if not value["enabled"]:
        return "off"
    words = [
        f"tokens {'required' if value['tokens_required'] else 'optional'}",
        f"hop limit {value['hop_limit']}",
        "" if value["ipv6"] else "no IPv6",
        "tells labels" if value["labels"] else "",
        "+".join(value["dialects"]) or "no dialect",
    ]
    return ", ".join(filter(None, words))


def _subnets(value: Any, now: Now) -> str:
    return "\n".join(line for each in value for line in _subnet(each))


def _subnet(subnet: Document) -> Iterable[str]:
    yield f"{subnet['name']} {subnet['cidr']}, DHCP gives {subnet['first']} to {subnet['last']}"
    if subnet["cidr6"]:
        yield f"{'':{len(subnet['name'])}} {subnet['cidr6']}"


def _ports(value: Any, now: Now) -> str:
    return "\n".join(
        " ".join(part for part in (each["name"], each["mac"], each["address"], each["address6"]) if part)
        for each in value
    )


def _leases(value: Any, now: Now) -> str:
    return "\n".join(f"{each['address']} until {moment(each['expires_at'])}" for each in value)


def _used(value: Any, write: Callable[[int], str]) -> str:
    limit = "unlimited" if value["limit"] is None else write(value["limit"])
    return f"{write(value['used'] or 0)} of {limit}"


def _chain(value: Any, now: Now) -> str:
    """A disk as it is on the storage: whatever the host tells, a line a fact."""
    return "\n".join(f"{key}: {_plain(each)}" for key, each in value.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


WRITERS: Mapping[str, Callable[[Any, Now], str]] = {
    "text": lambda value, now: str(value),
    "yes": lambda value, now: "yes" if value else "no",
    "if_yes": lambda value, now: "yes" if value else "-",
    "if_delete": lambda value, now: value if value == "delete" else "-",
    "money": lambda value, now: f"{value:.4f}",
    "mib": lambda value, now: show_mib(value),
    "mib_about": lambda value, now: show_bytes(value << 20),
    "bytes": lambda value, now: show_bytes(value),
    "ms": lambda value, now: milliseconds(value),
    "age": lambda value, now: age(now.at - value),
    "time": lambda value, now: moment(value),
    "percent": lambda value, now: f"{value:.0f}%",
    "limit": lambda value, now: "unlimited" if value is None else str(value),
    "mib_limit": lambda value, now: "unlimited" if value is None else show_mib(value),
    "used": lambda value, now: _used(value, str),
    "used_mib": lambda value, now: _used(value, show_mib),
    "port": lambda value, now: str(value),
    "nics": _nics,
    "metadata": _metadata,
    "forwards": _forwards,
    "labels": _labels,
    "details": _details,
    "list": lambda value, now: ", ".join(map(str, value)),
    "error": _error,
    "outcome": _outcome,
    "disks": _disks,
    "held": _held,
    "subnets": _subnets,
    "ports": _ports,
    "leases": _leases,
    "mtu": lambda value, now: f"{value} bytes",
    "count": lambda value, now: str(len(value)),
    "lines": lambda value, now: "\n".join(value),
    "chain": _chain,
}
_SHOWS_NOTHING_AS_SOMETHING = frozenset({"limit", "mib_limit", "yes"})
_SHOWS_ZERO = frozenset({"text", "percent"})


def dig(document: Any, key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    for part in key.split("."):
        if not isinstance(document, dict):  # as JSON and YAML have it; `Mapping` would take long to ask for
            return None
        document = document.get(part)
    return document


def cell(column: Column, document: Document, now: Now) -> str:
    """A value as people read it."""
    value = dig(document, column.key)
    if column.write not in _SHOWS_NOTHING_AS_SOMETHING:
        empty = value is None or value == "" or value == [] or value == {}
        if empty or (value == 0 and column.write not in _SHOWS_ZERO and not isinstance(value, bool)):
            return "-"
    return WRITERS[column.write](value, now)


def table(columns: Sequence[Column], documents: Iterable[Document], now: Now, width: int = 0) -> str:
    """Aligned lines below their titles; `width` 0 is no limit."""
    rows = [[column.title for column in columns]]
    rows += [[cell(column, document, now) for column in columns] for document in documents]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    _narrow(columns, widths, width)
    return "\n".join(_line(columns, widths, cells) for cells in rows)


def _narrow(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Take what is too much from the widest text columns."""
    texts = [index for index, column in enumerate(columns) if not column.right]
    while width and sum(widths) + len(_GAP) * (len(widths) - 1) > width:
        widest = max(texts, key=lambda index: widths[index])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1


def _line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    shown = []
    for column, room, text in zip(columns, widths, cells, strict=True):
        fitting = text if len(text) <= room else text[: room - 1] + "…"
        shown.append(fitting.rjust(room) if column.right else fitting.ljust(room))
    return _GAP.join(shown).rstrip()


def record(fields: Sequence[Column], document: Document, now: Now) -> str:
    """One line a field, titles aligned; a field that this record does not have is left out."""
    shown = [(field.title, cell(field, document, now)) for field in fields]
    shown = [(title, text) for title, text in shown if text != "-"]
    room = max((len(title) for title, _ in shown), default=0) + 1
    lines = []
    for title, text in shown:
        first, *more = text.split("\n")
        lines.append(f"{title + ':':<{room}} {first}")
        lines += [f"{'':{room}} {line}" for line in more]
    return "\n".join(lines)


def as_json(document: object) -> str:
    """One JSON document, for programs; indented, since people read it too."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_json_line(document: object) -> str:
    """One JSON document on one line, as streams have it."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def as_yaml(document: object) -> str:
    """A YAML document that `guest apply` reads back to the same values; long texts as blocks."""
    import yaml

    class Blocks(yaml.SafeDumper):
        """Writes a text of several lines as a block, the way people write user-data."""

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Blocks.add_representer(str, text)
    return yaml.dump(document, Dumper=Blocks, sort_keys=False, allow_unicode=True, width=78).rstrip("\n")
