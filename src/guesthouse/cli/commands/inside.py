"""`guest exec`: a program in the guest, streams and exit status passed through."""

from __future__ import annotations

import base64

from guesthouse.cli.commands.shell import rest
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values


def execute(context: Context, row: Command, values: Values) -> int:
    """Run a program in the guest; ends with its exit status."""
    body = {
        "argv": rest(values["argv"]),
        "stdin": base64.b64encode(_stdin(context, values)).decode(),
        "environment": values.get("environment", []),
    }
    if "timeout_s" in values:
        body["timeout_s"] = values["timeout_s"]
    ended = context.door.ask("POST", f"/machines/{segment(values['machine'])}/exec", None, body)
    if context.json:
        context.give(_readable(ended), "")
    else:
        context.terminal.write_bytes(base64.b64decode(ended["stdout"]))
        context.terminal.write_bytes(base64.b64decode(ended["stderr"]), to_stderr=True)
    return int(ended["exit_status"])


def _stdin(context: Context, values: Values) -> bytes:
    if values.get("no_stdin") or context.terminal.stdin.isatty():
        return b""
    return context.terminal.byte_input.read()


def _readable(ended: dict[str, object]) -> dict[str, object]:
    """The streams as text; bytes that are none are shown as the replacement character."""
    streams = {name: base64.b64decode(str(ended[name])).decode(errors="replace") for name in ("stdout", "stderr")}
    return {"exit_status": ended["exit_status"], **streams}
