"""The lifecycle table: every verb has an answer for every power, and refusals say what to do."""

from __future__ import annotations

import pytest

from guesthouse.decide.lifecycle import LIFECYCLE, Answer, Verb, ask, shown_state, supersedes
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Deleting, MachineRow, Power, State


def row(power: Power = Power.RUNNING, **more: object) -> MachineRow:
    return MachineRow(**{"id": "m", "project": "p", "name": "web", "host": "h", "power": power, **more})


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("power", Power)
def test_every_cell(verb: Verb, power: Power) -> None:
    answer = getattr(LIFECYCLE[verb], power.value)
    if answer is Answer.REFUSED:
        with pytest.raises(Conflict) as refused:
            ask(row(power), verb)
        assert refused.value.value == power.value
        assert "`guest" in refused.value.hint
        assert "web" in refused.value.hint
    else:
        assert ask(row(power), verb) is (answer is Answer.GO)


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb is not Verb.DELETE])
def test_what_is_being_deleted_takes_nothing_else(verb: Verb) -> None:
    with pytest.raises(Conflict, match="is being deleted"):
        ask(row(deleting=Deleting.WITH_DISKS), verb)


def test_only_force_and_delete_push_aside() -> None:
    assert supersedes(Verb.DELETE, force=False)
    assert supersedes(Verb.STOP, force=True)
    assert not any(supersedes(verb, force=False) for verb in Verb if verb is not Verb.DELETE)


@pytest.mark.parametrize(
    ("wanted", "seen", "reached", "shown"),
    [
        (Power.RUNNING, State.RUNNING, True, State.RUNNING),
        (Power.RUNNING, State.STOPPED, False, State.STARTING),
        (Power.RUNNING, State.CRASHED, False, State.STARTING),
        (Power.STOPPED, State.RUNNING, False, State.STOPPING),
        (Power.STOPPED, State.PAUSED, False, State.STOPPING),
        (Power.STOPPED, State.STOPPED, True, State.STOPPED),
        (Power.RUNNING, State.CREATING, False, State.CREATING),
    ],
)
def test_shown_state(wanted: Power, seen: State, reached: bool, shown: State) -> None:
    machine = row(wanted, state=seen, generation=2, observed_generation=2 if reached else 1)
    assert shown_state(machine) is shown


def test_deleting_is_shown_first() -> None:
    assert shown_state(row(deleting=Deleting.KEEP_DISKS, state=State.RUNNING)) is State.DELETING
