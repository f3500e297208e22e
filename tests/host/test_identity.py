"""Numbers of machines: one each, the same as long as it is free, never another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.host.identity import MACHINES, PROJECTS, choose_number, project_group


@given(st.uuids().map(str), st.sets(st.sampled_from(range(MACHINES.start, MACHINES.start + 64))))
def test_a_number_is_a_machines_and_free(machine: str, taken: set[int]) -> None:
    assert choose_number(machine, taken) in MACHINES
    assert choose_number(machine, taken) not in taken
    assert choose_number(machine, taken) == choose_number(machine, taken)


def test_a_taken_number_leads_to_the_next() -> None:
    first = choose_number("web", ())
    assert choose_number("web", {first}) == MACHINES[(first - MACHINES.start + 1) % len(MACHINES)]


def test_projects_and_machines_share_no_number() -> None:
    assert PROJECTS.stop <= MACHINES.start
    assert project_group(0) == 0x7000_0000


def test_a_project_number_beyond_the_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        project_group(len(PROJECTS))
