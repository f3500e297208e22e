"""What the modules of this folder share: what they work with, and what each of them says of its subject."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from guesthouse.engine.imaging import Imaging
from guesthouse.engine.progress import Board
from guesthouse.model.resources import Operation
from guesthouse.ports import DiskHost, ImageHost, NetworkHost, Progress, Store, Table, TemplateHost, Transaction


@dataclass(frozen=True)
class Tools:
    """What images, templates, disks and networks are worked on with."""

    store: Store
    images: ImageHost
    templates: TemplateHost
    disks: DiskHost
    networks: NetworkHost
    board: Board
    imaging: Imaging


Write = Callable[[Transaction, Operation], Awaitable[None]]


class Subject(NamedTuple):
    """Where its record is, who does a step of it and gives what its context gets by that, and who undoes all of them.

    `finish` has what is written when an operation of a kind is done; `removed` what is written when one is undone
    that made the subject, `restored` when one is undone that changed it.
    """

    table: Callable[[Transaction], Table[Any, Any]]
    perform: Callable[[Tools, Operation, str, Any, Progress], Awaitable[Mapping[str, Any]]]
    undo: Callable[[Tools, Operation, Any], Awaitable[None]]
    finish: Mapping[str, Write]
    removed: Write
    restored: Write


async def nothing(tx: Transaction, operation: Operation) -> None:
    """The subject's record stays as it is."""
