"""GPT tables, read back by sfdisk, which knows nothing of us."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from uuid import UUID

import pytest

from guesthouse.formats.gpt import EFI_SYSTEM, LINUX_ROOT_X86_64, SECTOR_BYTES, Partition, tables

_DISK = UUID("11111111-2222-3333-4444-555555555555")
_ROOT = Partition(1, LINUX_ROOT_X86_64, UUID(int=1), 4096, 8192, "root")
_EFI = Partition(15, EFI_SYSTEM, UUID(int=15), 2048, 2048, "efi")


def _write(path: Path, sectors: int, partitions: list[Partition], damaged: bool = False) -> None:
    made = tables(sectors, _DISK, partitions)
    with path.open("wb") as file:
        file.write(made.head)
        file.truncate(sectors * SECTOR_BYTES)
        file.seek(-len(made.tail), 2)
        file.write(made.tail)
        if damaged:
            file.seek(SECTOR_BYTES)
            file.write(bytes(SECTOR_BYTES))


def _read(path: Path) -> dict[str, object]:
    said = subprocess.run(["sfdisk", "--json", str(path)], capture_output=True, check=True)
    table: dict[str, object] = json.loads(said.stdout)["partitiontable"]
    return table


@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "first table damaged"])
def test_sfdisk_reads_what_was_written(tmp_path: Path, damaged: bool) -> None:
    disk = tmp_path / "disk"
    _write(disk, 16384, [_ROOT, _EFI], damaged)
    table = _read(disk)
    assert (table["label"], table["id"], table["lastlba"]) == ("gpt", str(_DISK).upper(), 16384 - 34)
    assert table["partitions"] == [
        {
            "node": f"{disk}{row.number}",
            "start": row.first_sector,
            "size": row.sectors,
            "type": str(row.kind).upper(),
            "uuid": str(row.identity).upper(),
            "name": row.name,
        }
        for row in (_ROOT, _EFI)
    ]


def test_sfdisk_finds_nothing_wrong(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    _write(disk, 16384, [_ROOT, _EFI])
    said = subprocess.run(["sfdisk", "--verify", str(disk)], capture_output=True, text=True, check=True)
    assert "No errors detected" in said.stdout


@pytest.mark.parametrize(
    "partitions",
    [
        [_ROOT._replace(first_sector=33)],
        [_ROOT._replace(sectors=16384)],
        [_ROOT._replace(sectors=0)],
        [_ROOT, _EFI._replace(sectors=2049)],
        [_ROOT, _EFI._replace(number=1)],
    ],
    ids=["over the table", "beyond the end", "empty", "over another", "same number"],
)
def test_partitions_that_cannot_be_are_refused(partitions: list[Partition]) -> None:
    with pytest.raises(ValueError, match="partition"):
        tables(16384, _DISK, partitions)
