"""From a row and what was said to the request, and from the answer to what is shown.

Rules
-----
1. Nothing here knows a command: all differences stand in the rows.
2. A command for several machines sends every request first and waits then, so that they work side by side.
   Each that fails is told; the others go on; the command ends with the first one's exit code.
"""

from __future__ import annotations

import re
from typing import Any

from guesthouse.cli import show, wait
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.exits import exit_code
from guesthouse.cli.failures import tell
from guesthouse.cli.rows import Command, Request, Values
from guesthouse.model.errors import Failed, GuesthouseError, Invalid

_IN_PATH = re.compile(r"{(\w+)}")


def perform(context: Context, row: Command, values: Values) -> int:
    """Run a row that is a plain request; returns the exit code."""
    assert row.request is not None
    values = {**dict(row.defaults), **values}
    several = next((argument.key for argument in row.arguments if argument.many), "")
    if not several:
        _give(context, row, values, carry_out(context, row, values))
        return 0
    return _perform_each(context, row, row.request, several, values)


def carry_out(context: Context, row: Command, values: Values) -> Any:
    """Ask first where the row says so, make its request, wait for the end of what is durable; returns the answer."""
    assert row.request is not None
    confirm(context, row, values)
    return _finish(context, row, send(context, row, row.request, values, _at_once(context, row)))


def _perform_each(context: Context, row: Command, request: Request, several: str, values: Values) -> int:
    confirm(context, row, {**values, several: ", ".join(values[several])})
    failed = 0
    wait_s = _at_once(context, row) if len(values[several]) == 1 else 0
    started: list[tuple[Values, Any]] = []
    ended: list[Any] = []
    for name in values[several]:
        one: Values = {**values, several: name}
        try:
            started.append((one, send(context, row, request, one, wait_s)))
        except GuesthouseError as error:
            failed = failed or told(context, error)
    for said, answer in started:
        try:
            ended.append(_finish(context, row, answer))
        except GuesthouseError as error:
            failed = failed or told(context, error)
            continue
        if not context.json:
            _give(context, row, said, ended[-1])
    if context.json:
        context.terminal.out(show.as_json({"items": ended}))
    return failed


def told(context: Context, error: GuesthouseError) -> int:
    """Say what went wrong where others go on; the exit code that it stands for."""
    tell(context.terminal, error, as_json=context.json)
    return exit_code(error)


def confirm(context: Context, row: Command, values: Values) -> None:
    """Ask before what cannot be undone; raises `Invalid` where nobody can answer or the answer is no."""
    if not row.confirm or values.get("yes"):
        return
    question = row.confirm.format_map(values)
    if not context.terminal.interactive:
        raise Invalid(f"{question} Nobody is here to answer", hint="add --yes")
    if not context.terminal.ask(question):
        raise Failed("not confirmed; nothing was changed")


def send(context: Context, row: Command, request: Request, values: Values, wait_s: float = 0) -> Any:
    """Make the row's request of what was said; durable work is answered when it has ended, after `wait_s` at most."""
    path = _IN_PATH.sub(lambda match: segment(values[match[1]]), request.path)
    local = {each.key for each in row.options if each.local} | set(_IN_PATH.findall(request.path))
    rest = {key: value for key, value in values.items() if key not in local}
    waiting = {"wait_s": wait_s} if wait_s else {}
    if request.method in ("GET", "DELETE"):
        return context.door.ask(request.method, path, rest | waiting)
    return context.door.ask(request.method, path, waiting, nested(rest))


def nested(values: Values) -> dict[str, Any]:
    """``{"spec.name": "web"}`` -> ``{"spec": {"name": "web"}}``."""
    body: dict[str, Any] = {}
    for key, value in values.items():
        *folders, last = key.split(".")
        place = body
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return body


def _at_once(context: Context, row: Command) -> float:
    return wait.AT_ONCE_S if row.durable and not context.no_wait else 0


def _finish(context: Context, row: Command, answer: Any) -> Any:
    if not row.durable or context.no_wait:
        return answer
    ended = wait.operation(context, answer)
    if row.relists:
        relist(context)
    return ended


def relist(context: Context) -> None:
    """Write an installed SSH configuration anew: the way into some machine has changed."""
    from guesthouse.cli.commands.ssh_config import refresh

    refresh(context)


def _give(context: Context, row: Command, values: Values, answer: Any) -> None:
    if row.columns:
        context.give_list(row.columns, answer["items"] if context.json else _named(context, row, answer["items"]))
    elif row.fields:
        context.give(answer, show.record(row.fields, answer, context.now))
    elif row.durable and context.no_wait:
        context.give(answer, answer["id"])
    elif row.answer:
        context.give(answer, row.answer.format_map(answer))
    elif row.durable and (answer.get("result") or {}).get("already"):
        context.confirm(answer, f"{answer['subject_name']}: nothing to do, it is so already")
    elif row.durable and (later := (answer.get("result") or {}).get("later")):
        context.confirm(answer, f"{answer['subject_name']}: {later}")
    else:
        context.confirm(answer or {}, row.done.format_map(_Said({**(answer or {}), **values})))


def _named(context: Context, row: Command, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items with names in place of ids, where there is an id to replace."""
    for key, path in row.names:
        if any(item.get(key) for item in items):
            names = {each["id"]: each["name"] for each in context.door.ask("GET", path)["items"]}
            items = [{**item, key: names.get(item[key], item[key])} for item in items]
    return items


class _Said(dict[str, Any]):
    """What a `done` line may name; lists are written with commas."""

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
