"""`guest group show`, `guest group rule add` and `remove`: rules as people write them."""

from __future__ import annotations

from typing import Any

from guesthouse.cli import perform, show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Document, Values
from guesthouse.model.errors import Invalid, NotFound

_SAID = ("direction", "protocol", "first_port", "last_port", "cidr", "peer")


def show_group(context: Context, row: Command, values: Values) -> int:
    """Show a group, its rules as they are written in commands."""
    group = _group(context, values)
    shown = [_written(_with_peer(rule, group["peers"])) for rule in group["rules"]]
    context.give(group, show.record(row.fields, {**group, "shown": shown}, context.now))
    return 0


def add(context: Context, row: Command, values: Values) -> int:
    """Add a rule."""
    rule = _rule(values)
    said = {**rule, **{key: values[key] for key in ("network", "group", "description") if key in values}}
    ended = perform.carry_out(context, row, said)
    return _told(context, row, values, ended, rule)


def remove(context: Context, row: Command, values: Values) -> int:
    """Remove the rule that says the same."""
    rule, group = _rule(values), _group(context, values)
    same = [each for each in group["rules"] if _is_same(rule, _with_peer(each, group["peers"]))]
    if not same:
        raise NotFound(
            f"group {group['name']} has no rule that lets {_written(rule)}",
            field="rule",
            hint=f"`guest group show {values['network']} {group['name']}` shows its rules",
        )
    said = {"network": values["network"], "group": values["group"], "rule": same[0]["id"]}
    return _told(context, row, values, perform.carry_out(context, row, said), rule)


def _told(context: Context, row: Command, values: Values, ended: Any, rule: Document) -> int:
    done = ended["id"] if context.no_wait else row.done.format(group=values["group"], shown=_written(rule))
    context.confirm(ended, done)
    return 0


def _group(context: Context, values: Values) -> Any:
    return context.door.ask("GET", f"/networks/{segment(values['network'])}/groups/{segment(values['group'])}")


def _rule(values: Values) -> dict[str, Any]:
    """What was said, as the door takes it: from or to an address, a block, or a group."""
    said = {key: values[key] for key in ("from", "to") if key in values}
    if len(said) != 1:
        raise Invalid(
            "a rule is about what comes from somewhere, or goes somewhere",
            field="from",
            hint="add either --from or --to, with a CIDR or the name of a group; 0.0.0.0/0 is everybody",
        )
    (word, other) = said.popitem()
    where = {"cidr": _block(other)} if _is_address(other) else {"peer": other}
    return {"direction": "in" if word == "from" else "out", **values["passing"], **where}


def _is_address(text: str) -> bool:
    """Names have letters, digits and hyphens alone."""
    return "/" in text or ":" in text or "." in text


def _block(text: str) -> str:
    return text if "/" in text else f"{text}/{128 if ':' in text else 32}"


def _with_peer(rule: Document, peers: Document) -> dict[str, Any]:
    return {**rule, "peer": peers.get(rule["group"], rule["group"])}


def _is_same(one: Document, other: Document) -> bool:
    return all(one.get(key, "") == other.get(key, "") for key in _SAID)


def _written(rule: Document) -> str:
    """``in tcp:80 from 0.0.0.0/0``, as it is added."""
    first, last = rule["first_port"], rule["last_port"]
    if rule["protocol"].startswith("icmp"):
        numbers = "" if first < 0 else f":{first}" if last < 0 else f":{first}/{last}"
    else:
        numbers = "" if not first else f":{first}" if first == last else f":{first}-{last}"
    word, direction = ("from", "in") if rule["direction"] == "in" else ("to", "out")
    described = f"  ({rule['description']})" if rule.get("description") else ""
    return f"{direction} {rule['protocol']}{numbers} {word} {rule.get('cidr') or rule.get('peer')}{described}"
