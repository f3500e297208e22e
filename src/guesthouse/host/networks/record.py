"""What is kept of a network: what it was to be when it was last applied, for the next daemon and for `clean`.

It lies in the network's folder before anything is made, and goes when all else is gone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from guesthouse.host.durable import write_whole
from guesthouse.model.house import House
from guesthouse.model.network import NetworkWanted

_NAME = "wanted.json"


class Record(msgspec.Struct, frozen=True):
    """What was wanted, how long its frames are, and the generation of the rules made of it; -1 until they were."""

    wanted: NetworkWanted
    mtu: int
    generation: int = -1


def folder_of(house: House, network: str) -> Path:
    return house.networks / network


def write(house: House, record: Record) -> None:
    """Keep it; it speaks of what runs, and so needs not outlast a power cut."""
    folder = folder_of(house, record.wanted.network.id)
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_whole(folder / _NAME, msgspec.json.encode(record), lasting=False)


def read_all(house: House) -> Iterator[Record]:
    """All that can be read; another is as good as none, for its network is applied anew."""
    for path in sorted(house.networks.glob(f"*/{_NAME}")):
        try:
            yield msgspec.json.decode(path.read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            continue


def remove(house: House, network: str) -> None:
    """Forget it, with its folder."""
    shutil.rmtree(folder_of(house, network), ignore_errors=True)
