"""Placement: what a host lacks, which one is taken, and what is said where none can be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.decide.placement import RULES, Candidate, Way, Wish, judge, place
from guesthouse.model.errors import Invalid, NoCapacity
from guesthouse.model.hosts import HostRecord, Limits, Load


def a_host(name: str = "north", **more: Any) -> HostRecord:
    has = {"cpus": 8, "memory_mib": 16384, "memory_free_mib": 8192, "disk_free_mib": 100_000, "zone": "z-a"}
    return HostRecord(id=f"id-{name}", name=name, region="z", **{**has, **more})


def on(name: str = "north", host: dict[str, Any] | None = None, **more: Any) -> Candidate:
    return Candidate(a_host(name, **(host or {})), **more)


FITS = Wish(vcpus=2, memory_mib=1024)


@pytest.mark.parametrize(
    ("rule", "wish", "candidate", "said"),
    [
        ("host", Wish(host="south"), on(), "south is asked for"),
        ("zone", Wish(zone="z-b"), on(), "it is in zone z-a, not z-b"),
        ("there", FITS, on(away=True), "it has not been heard of"),
        ("near", Wish(lies_at={"disk data": "id-south"}), on(), "disk data is on another host"),
        ("apart", Wish(apart="db"), on(siblings=1), "a machine is there already that is to be apart: db"),
        ("type", Wish(type="m7i.48xlarge"), on(), "this host cannot have a m7i.48xlarge: it has 192 vCPUs"),
        (
            "processors",
            Wish(vcpus=4),
            on(host={"limits": Limits(vcpus_per_cpu=1.5)}, load=Load(vcpus=10)),
            "4 vCPUs asked for, 2 of 12 left",
        ),
        (
            "promises",
            Wish(memory_mib=1024),
            on(host={"limits": Limits(memory_percent=50)}, load=Load(memory_mib=8000)),
            "1024 MiB of memory asked for, 192 of 8192 MiB left",
        ),
        (
            "memory",
            Wish(memory_mib=8000),
            on(promised_mib=500),
            "not enough memory on this host: 8000 MiB asked for, 7692 MiB free",
        ),
        ("disk", Wish(disk_mib=99_990), on(), "not enough disk space on this host: 100054 MiB needed, 100000 MiB free"),
    ],
)
def test_a_host_that_lacks_something_is_refused_by_it_alone(
    rule: str, wish: Wish, candidate: Candidate, said: str
) -> None:
    (verdict,) = judge(wish, [candidate])
    assert not verdict.fits
    assert [lack.text.startswith(said) for lack in verdict.lacks] == [True]
    assert [name for name, lacks in RULES.items() if lacks(wish, candidate)] == [rule]


def test_every_rule_is_shown_above() -> None:
    shown = {mark.args[1][n][0] for mark in _marks() for n in range(len(mark.args[1]))}
    assert shown == set(RULES)


def _marks() -> list[pytest.Mark]:
    found: list[pytest.Mark] = test_a_host_that_lacks_something_is_refused_by_it_alone.pytestmark  # type: ignore[attr-defined]
    return found


def test_machines_are_spread_over_hosts_unless_they_are_to_be_packed() -> None:
    hosts = [on("busy", {"memory_free_mib": 4096}, load=Load(vcpus=8)), on("idle")]
    assert place(FITS, hosts).name == "idle"
    assert place(Wish(vcpus=2, memory_mib=1024, way=Way.PACK), hosts).name == "busy"


def test_a_warm_template_is_worth_more_than_room() -> None:
    assert (
        place(FITS, [on("empty"), on("warm", {"memory_free_mib": 4096}, warm=True, load=Load(vcpus=8))]).name == "warm"
    )


def test_of_equal_hosts_the_first_by_name_is_taken() -> None:
    assert place(FITS, [on("b"), on("a"), on("c")]).name == "a"


def test_one_host_answers_as_itself_and_many_each_for_itself() -> None:
    wish = Wish(memory_mib=9000)
    with pytest.raises(NoCapacity) as one:
        place(wish, [on()])
    assert str(one.value) == "not enough memory on this host: 9000 MiB asked for, 8192 MiB free"
    assert (one.value.field, one.value.value) == ("memory_mib", 9000)
    with pytest.raises(NoCapacity) as many:
        place(wish, [on("north"), on("south", away=True)])
    assert str(many.value) == (
        "no host can have it: north: not enough memory on this host: 9000 MiB asked for, 8192 MiB free;"
        " south: it has not been heard of"
    )
    assert "--explain" in many.value.hint


@pytest.mark.parametrize(("wish", "field"), [(Wish(host="moon"), "host"), (Wish(zone="moon"), "zone")])
def test_what_there_is_not_is_told_with_what_there_is(wish: Wish, field: str) -> None:
    with pytest.raises(Invalid, match=f"there is no {field} 'moon'") as refused:
        place(wish, [on()])
    assert refused.value.field == field
    assert refused.value.hint in ("one of north", "one of z-a")


SIZES = st.integers(0, 20_000)
HOSTS = st.lists(
    st.builds(
        lambda number, free, promised, away, zone: on(
            f"h{number}", {"memory_free_mib": free, "zone": zone}, promised_mib=promised, away=away
        ),
        st.integers(0, 99),
        SIZES,
        SIZES,
        st.booleans(),
        st.sampled_from(["z-a", "z-b"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda candidate: candidate.host.name,
)


@given(HOSTS, SIZES, st.sampled_from(list(Way)))
def test_whoever_is_taken_has_the_room_and_whoever_is_refused_has_not(
    hosts: list[Candidate], memory_mib: int, way: Way
) -> None:
    wish = Wish(memory_mib=memory_mib, way=way)
    able = {each.host.name for each in hosts if not each.away and each.free_mib >= memory_mib}
    if able:
        assert place(wish, hosts).name in able
    else:
        with pytest.raises(NoCapacity):
            place(wish, hosts)
