"""Waiting: for an operation to end, for a machine to come as far as it was asked to.

Rules
-----
1. The house is asked to answer when something changes (long poll); nothing here sleeps.
2. Ctrl-C ends the waiting, never the work: `Interrupted` says what goes on, and how to follow or cancel it.
3. A failed operation raises its own error; a time that is over raises `TimedOut`, and the work goes on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guesthouse.cli import show
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.exits import CloudInitFailed, Interrupted, NoDaemon
from guesthouse.model.errors import Conflict, Failed, TimedOut, from_dict

ENDED = ("done", "failed", "cancelled")
STAGES = ("", "running", "reachable", "configured")
# What is said of an operation that has told no phase yet.
_PHASES = {"waiting": "waiting", "running": "under way", "undoing": "undoing"}
AT_ONCE_S = 0.5
"""What ends within this time is answered with the request that asked for it: one way to the house and back."""
# How long one request may hang: short on a terminal, where the elapsed time is to move.
_POLL_S = 30.0
_POLL_TERMINAL_S = 1.0


class Deadline:
    """How much of the time given is left, and how much is gone; no limit when `timeout_s` is None."""

    def __init__(self, timeout_s: float | None = None) -> None:
        self.started = time.monotonic()
        self.timeout_s = timeout_s

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def poll_s(self, context: Context) -> float:
        """How long the next request may hang."""
        longest = _POLL_TERMINAL_S if context.terminal.stderr.isatty() else _POLL_S
        if self.timeout_s is None:
            return longest
        return max(0.0, min(longest, self.timeout_s - self.elapsed_s))

    @property
    def over(self) -> bool:
        return self.timeout_s is not None and self.elapsed_s >= self.timeout_s


def operation(context: Context, started: dict[str, Any], deadline: Deadline | None = None) -> dict[str, Any]:
    """Wait until an operation ends; returns its last document, raises the error that ended it."""
    deadline = deadline or Deadline()
    subject = f"{_work(started)} {started['subject_name']}".strip()
    path = f"/operations/{segment(started['id'])}"
    with _going_on(
        f"{subject} goes on",
        f"`guest operation wait {started['id']}` follows it, `guest operation cancel {started['id']}` ends it",
    ):
        seen = started
        while seen["state"] not in ENDED:
            _show(context, subject, seen, deadline)
            if deadline.over:
                raise TimedOut(
                    f"{subject} is not done after {deadline.timeout_s:g} s; it goes on",
                    subject=subject,
                    hint=f"`guest operation wait {started['id']}` follows it",
                )
            asked = {"wait_s": deadline.poll_s(context), "after": seen.get("stamp", "")}
            seen = context.door.ask("GET", path, {key: value for key, value in asked.items() if value != ""})
    context.terminal.clear_progress()
    ended = _ended(subject, seen)
    if (note := ended["result"].get("note")) and not (context.json or context.quiet):
        context.terminal.note(f"note: {note}")
    return ended


def _work(started: dict[str, Any]) -> str:
    """``launch``, ``build``; ``snapshot delete`` where the subject is another: it is not the machine that goes."""
    noun, _, verb = started["kind"].partition(".")
    return verb if noun == started["subject_kind"] else f"{noun} {verb}"


def _ended(subject: str, seen: dict[str, Any]) -> dict[str, Any]:
    if seen["state"] == "failed":
        raise from_dict(seen.get("error") or {"message": f"{subject} failed"})
    if seen["state"] == "cancelled":
        raise Conflict(f"{subject} was cancelled", subject=subject)
    return {key: value for key, value in seen.items() if key != "stamp"}


def _show(context: Context, subject: str, seen: dict[str, Any], deadline: Deadline) -> None:
    if not context.quiet:
        phase = seen["phase"] or seen["step"] or _PHASES[seen["state"]]
        context.terminal.progress(subject, phase, seen.get("percent"), deadline.elapsed_s)


def machine(context: Context, ref: str, name: str, until: str, deadline: Deadline) -> dict[str, Any]:
    """Wait until a machine is `until`: running, reachable or configured; returns its record.

    Raises `CloudInitFailed` where it was to be configured and that failed, `Failed` where it stands still
    before, `TimedOut`.
    """
    path = f"/machines/{segment(ref)}/wait"
    with _going_on(f"{name} goes on without us", f"`guest wait {name}` follows it"):
        while True:
            seen: dict[str, Any] = context.door.ask("GET", path, {"until": until, "wait_s": deadline.poll_s(context)})
            if _reached(seen, until):
                context.terminal.clear_progress()
                _check_outcome(seen, until)
                return seen
            _check_alive(seen, name, until)
            if deadline.over:
                raise TimedOut(
                    f"{name} is {_position(seen)}, not {until}, after {deadline.timeout_s:g} s",
                    subject=f"machine {name}",
                    hint=f"`guest wait {name}` waits on; `guest logs {name}` shows what it does",
                )
            if not context.quiet:
                context.terminal.progress(name, f"{_position(seen)}, not yet {until}", None, deadline.elapsed_s)


def _position(seen: dict[str, Any]) -> str:
    return str(seen.get("stage") or seen["state"])


def _reached(seen: dict[str, Any], until: str) -> bool:
    if until == "configured" and show.dig(seen, "status.outcome") is not None:
        return True
    return STAGES.index(seen.get("stage") or "") >= STAGES.index(until)


def _check_alive(seen: dict[str, Any], name: str, until: str) -> None:
    """Raise where the machine is not meant to run and nothing is under way that could change that."""
    if seen["power"] == "running" or seen["operation"] is not None:
        return
    error = show.dig(seen, "status.error")
    if error:
        raise from_dict(error)
    raise Failed(
        f"{name} is {seen['state']} and was never {until}",
        subject=f"machine {name}",
        hint=f"`guest logs {name}` shows what it did",
    )


def _check_outcome(seen: dict[str, Any], until: str) -> None:
    outcome = show.dig(seen, "status.outcome")
    if until != "configured" or outcome is None or outcome["ok"]:
        return
    name = seen["name"]
    failures = "; ".join(f"{each['module']}: {each['message']}" for each in outcome.get("failures", ()))
    log = "".join(f"\n  {line}" for line in outcome.get("log", "").strip().splitlines()[-10:])
    raise CloudInitFailed(
        f"{name} runs, but cloud-init failed: {failures or 'it named no module'}{log}",
        subject=f"machine {name}",
        hint=f"`guest shell {name}` enters it, `guest logs {name}` shows its console",
    )


@contextmanager
def _going_on(what: str, hint: str) -> Iterator[None]:
    """Tell Ctrl-C, or a daemon that went away, from the end of the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {what}", hint=hint) from None
    except NoDaemon as error:
        raise NoDaemon(f"{error}; {what} when the daemon is back", hint=hint) from error
