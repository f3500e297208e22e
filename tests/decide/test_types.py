"""Types: what they say of a machine, and which ones a host can have."""

from __future__ import annotations

import msgspec
import pytest

from guesthouse.catalog.ec2_types import BURSTABLE
from guesthouse.catalog.types import BY_SIZE, TYPES
from guesthouse.decide.types import refuse_too_large, resized, untyped, why_not, with_type
from guesthouse.decide.validate import check_spec
from guesthouse.model.errors import Invalid, NoCapacity
from guesthouse.model.machine import DiskSpec, MachineSpec


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "price"),
    [
        ("t2.micro", 1, 1, 0.0116),
        ("t3.nano", 2, 0.5, 0.0052),
        ("m7i.48xlarge", 192, 768, 9.6768),
        ("c7i.large", 2, 4, 0.08925),
        ("c5.18xlarge", 72, 144, 3.06),
        ("r7i.2xlarge", 8, 64, 0.5292),
        ("i4i.32xlarge", 128, 1024, 10.9824),
        ("m7a.medium", 1, 4, 0.05796),
        ("g5.xlarge", 4, 16, 1.006),
        ("p5.48xlarge", 192, 2048, 55.04),
    ],
)
def test_sizes_and_prices(name: str, vcpus: int, memory_gib: float, price: float) -> None:
    found = TYPES[name]
    assert (found.vcpus, found.memory_mib / 1024, found.price) == (vcpus, memory_gib, price)


def test_larger_ones_of_a_family_cost_more() -> None:
    for one in TYPES.values():
        for other in TYPES.values():
            alike = one.family == other.family and one.gpus == other.gpus
            if alike and one.memory_mib < other.memory_mib:
                assert one.price < other.price, (one.name, other.name)


def test_burstable_families_are_there() -> None:
    assert {each.family for each in TYPES.values() if each.burstable} == BURSTABLE


def test_a_size_is_called_by_the_type_that_people_take() -> None:
    assert BY_SIZE[2, 1024] == "t3.micro"
    assert BY_SIZE[2, 8192] == "t3.large"
    assert {(TYPES[name].vcpus, TYPES[name].memory_mib) for name in BY_SIZE.values()} == set(BY_SIZE)


def test_a_type_says_the_size_and_the_disks() -> None:
    spec = with_type(MachineSpec(name="web", type="i4i.16xlarge", disks=(DiskSpec(name="data", size_mib=1),)))
    assert (spec.vcpus, spec.memory_mib) == (64, 512 * 1024)
    assert [disk.name for disk in spec.disks] == ["data", "store-0", "store-1", "store-2", "store-3"]
    assert with_type(spec) == spec
    assert spec.disks[-1].size_mib == 3750 * 1000**3 // (1 << 20)


@pytest.mark.parametrize(
    ("said", "hint"),
    [("t3.mirco", "t3.micro"), ("T3.Micro", "t3.micro"), ("m7i.huge", "m7i."), ("zzz", "guest type list")],
)
def test_an_unknown_type_is_refused_with_what_is_near(said: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        with_type(MachineSpec(name="web", type=said))
    assert (caught.value.field, caught.value.value) == ("type", said)
    assert hint in caught.value.hint


def test_another_size_than_the_type_has_is_refused() -> None:
    with pytest.raises(Invalid, match="has 2 vcpus, not 4"):
        check_spec(with_type(MachineSpec(name="web", type="t3.micro", vcpus=4)))


def test_a_machine_becomes_another_type_or_none() -> None:
    web = with_type(MachineSpec(name="web", type="t3.micro"))
    large = resized(web, "m7i.large")
    assert (large.type, large.vcpus, large.memory_mib) == ("m7i.large", 2, 8192)
    assert untyped(large) == large
    assert untyped(msgspec.structs.replace(large, vcpus=3)).type == ""
    with pytest.raises(Invalid, match="disks"):
        resized(web, "i4i.large")


@pytest.mark.parametrize(
    ("name", "cpus", "memory_mib", "why"),
    [
        ("t3.micro", 1, 1024, ""),
        ("t3.micro", 8, 1000, "memory"),
        ("m7i.xlarge", 2, 99999, "4 vCPUs, this host 2"),
        ("g5.xlarge", 64, 999999, "A10G"),
    ],
)
def test_what_a_host_can_have(name: str, cpus: int, memory_mib: int, why: str) -> None:
    said = why_not(TYPES[name], cpus, memory_mib)
    assert why in said
    assert bool(why) == bool(said)
    spec = with_type(MachineSpec(name="web", type=name))
    if why:
        with pytest.raises(NoCapacity, match=f"cannot have a {name}"):
            refuse_too_large(spec, cpus, memory_mib)
    else:
        refuse_too_large(spec, cpus, memory_mib)
