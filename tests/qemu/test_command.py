"""The command line, as a whole, for machines of every sort."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from tests.golden.golden import Golden
from tests.qemu.scenarios import CAPABILITIES, SCENARIOS, disk, shown

from guesthouse.model.errors import Invalid, NoCapacity, NotFound
from guesthouse.qemu.command import command


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_command_line_is_the_approved_one(name: str, golden: Golden) -> None:
    scenario = SCENARIOS[name]
    golden(f"qemu/{name}.argv", shown(command(scenario.placed, scenario.boot())))


def test_a_disk_without_a_file_is_refused() -> None:
    scenario = SCENARIOS["debian-bios"]
    with pytest.raises(NotFound, match=disk(1).disk):
        command(scenario.placed, replace(scenario.boot(), disks={}))


def test_a_screen_without_a_socket_is_refused() -> None:
    scenario = SCENARIOS["screen"]
    with pytest.raises(Invalid) as caught:
        command(scenario.placed, replace(scenario.boot(), screen=None))
    assert caught.value.field == "screen"


def test_a_qemu_that_lacks_a_device_is_told_before_it_starts() -> None:
    scenario = SCENARIOS["two-nics"]
    poor = msgspec.structs.replace(CAPABILITIES, devices=CAPABILITIES.devices - {"e1000"})
    with pytest.raises(NoCapacity, match=r"QEMU 7\.2\.22 has no device e1000"):
        command(scenario.placed, replace(scenario.boot(), capabilities=poor))


def test_a_machine_type_that_qemu_has_dropped_is_told_before_it_starts() -> None:
    scenario = SCENARIOS["micro"]
    old = msgspec.structs.replace(scenario.placed, machine_type="pc-q35-2.4")
    with pytest.raises(NoCapacity, match=r"pc-q35-2\.4") as caught:
        command(old, scenario.boot())
    assert "pc-q35-7.2" in caught.value.hint
