"""What the firmware tells: known as EC2's where that is wanted, and for good."""

from __future__ import annotations

from random import Random
from uuid import UUID

import pytest

from guesthouse.model.machine import Datasource
from guesthouse.model.names import make_id
from guesthouse.qemu import smbios

IDS = [make_id(Random(number)) for number in range(50)]


@pytest.mark.parametrize("id", IDS)
def test_who_asks_the_metadata_service_is_known_as_ec2s(id: str) -> None:
    uuid = smbios.uuid(id, Datasource.METADATA)
    assert uuid.startswith("ec2")
    assert smbios.system(id, Datasource.METADATA)["serial"] == uuid
    assert (UUID(uuid).version, str(UUID(uuid))) == (4, uuid)


def test_each_machine_has_one_of_its_own() -> None:
    assert len({smbios.uuid(id, Datasource.METADATA) for id in IDS}) == len(IDS)


@pytest.mark.parametrize("id", ["ec2c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e", *IDS[:3]])
def test_who_has_a_seed_disk_is_not_even_by_chance(id: str) -> None:
    assert smbios.uuid(id, Datasource.SEED) == id
    assert "serial" not in smbios.system(id, Datasource.SEED, "template")
