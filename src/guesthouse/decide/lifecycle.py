"""What may be done with a machine in which state: one table, `LIFECYCLE`.

Rules
-----
1. The table is asked with the *wanted* power, which is what earlier requests left; what is seen may lag.
2. Asking for what is already so is no error: `ALREADY`, and nothing changes.
3. A machine that is being deleted takes no other request.
4. While an operation of a machine is open, another one is refused, but for those that `supersede` it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guesthouse.model.errors import Conflict
from guesthouse.model.machine import MachineRow, Power, State


class Verb(StrEnum):
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    PAUSE = "pause"
    RESUME = "resume"
    CHANGE = "change"
    DELETE = "delete"


class Answer(StrEnum):
    GO = "go"
    ALREADY = "already"
    REFUSED = "refused"


@dataclass(frozen=True)
class Row:
    """The answers by wanted power, and what to do instead where the answer is no."""

    stopped: Answer
    running: Answer
    paused: Answer
    hint: str = ""


LIFECYCLE: dict[Verb, Row] = {
    Verb.START: Row(Answer.GO, Answer.ALREADY, Answer.REFUSED, "`guest resume {name}` lets it run on"),
    Verb.STOP: Row(Answer.ALREADY, Answer.GO, Answer.GO),
    Verb.RESTART: Row(Answer.REFUSED, Answer.GO, Answer.GO, "`guest start {name}` starts it"),
    Verb.PAUSE: Row(Answer.REFUSED, Answer.GO, Answer.ALREADY, "`guest start {name}` starts it"),
    Verb.RESUME: Row(Answer.REFUSED, Answer.ALREADY, Answer.GO, "`guest start {name}` starts it"),
    Verb.CHANGE: Row(Answer.GO, Answer.GO, Answer.GO),
    Verb.DELETE: Row(Answer.GO, Answer.GO, Answer.GO),
}

_SUPERSEDES = frozenset({Verb.DELETE})


def ask(machine: MachineRow, verb: Verb) -> bool:
    """True when `verb` may go ahead, False when it is so already; raises `Conflict` when it may not."""
    subject = f"machine {machine.name}"
    if machine.deleting and verb is not Verb.DELETE:
        raise Conflict(f"{subject} is being deleted", subject=subject, hint="`guest list` shows when it is gone")
    row = LIFECYCLE[verb]
    answer: Answer = getattr(row, machine.power.value)
    if answer is Answer.REFUSED:
        raise Conflict(
            f"{subject} is {machine.power.value}: cannot {verb.value} it",
            subject=subject,
            field="state",
            value=machine.power.value,
            hint=row.hint.format(name=machine.name),
        )
    return answer is Answer.GO


def supersedes(verb: Verb, *, force: bool) -> bool:
    """Whether a request may push an open operation aside: a delete, and a stop by force."""
    return verb in _SUPERSEDES or (verb is Verb.STOP and force)


def shown_state(machine: MachineRow) -> State:
    """The state that people see: what was last observed, or the way there while it is not yet reached."""
    if machine.deleting:
        return State.DELETING
    if machine.observed_generation == machine.generation or machine.state is State.CREATING:
        return machine.state
    if machine.power is Power.STOPPED:
        return State.STOPPING if machine.state in (State.RUNNING, State.PAUSED) else machine.state
    return State.STARTING if machine.state in (State.STOPPED, State.CRASHED) else machine.state
