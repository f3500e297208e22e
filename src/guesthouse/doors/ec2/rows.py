"""What a row of the EC2 door's table says, and what its function is handed.

Rules
-----
1. One `Row` is one operation. It feeds the door, docs/ec2.md, the file of shapes and the tests.
2. A row either lists things (`listing`), by code that is the same for all, or has a function (`run`).
3. `takes` names the arguments that are understood, as the description of the service calls them; below a structure
   their parts with dots, all of it where only the structure is named. Those in `harmless` are understood with that
   value alone: clients send them though nobody asked for them. Every other argument is refused by its name.
4. What listings take (ids, filters, pages), tags in `tags`, DryRun and tokens are understood without being named.
5. An operation without an effect on anything real is no row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from guesthouse.doors.ec2.listing import Listing
from guesthouse.engine.door_intents import Piece, Token
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker, Intent
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault
from guesthouse.formats.cloudids import account
from guesthouse.model.resources import Role

DOOR = "ec2"
DRY_RUN = Fault("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


@dataclass(frozen=True)
class Call:
    """One request: who asks, and its arguments by their names in the description of the service."""

    engine: Engine
    asker: Asker
    arguments: Mapping[str, Any]
    once: Token | None = None

    def __getitem__(self, name: str) -> Any:
        """An argument; None where it was not given."""
        return self.arguments.get(name)

    async def stock(self, *nouns: str) -> Stock:
        """What the project has of these nouns."""
        return await self.engine.stock(self.asker, nouns)

    async def make(self, *pieces: Piece, wait_s: float = 0.0) -> list[str]:
        """Have all pieces done, or none; the ids of what they are about. A dry run ends here, with its `Fault`.

        With `wait_s` it waits so long for the ends of what was begun; raises what ended in a failure.
        """
        rehearse = bool(self["DryRun"])
        made = await self.engine.accept.together(
            self.asker, pieces, door=DOOR, once=None if rehearse else self.once, rehearse=rehearse
        )
        if rehearse:
            raise DRY_RUN
        if wait_s:
            await self.engine.views.ended(self.asker, [each.accepted for each in made], wait_s=wait_s)
        return [each.id for each in made]

    async def do(self, *intents: Intent, wait_s: float = 0.0) -> list[str]:
        """`make` of plain intents."""
        return await self.make(*(Piece(intent=intent) for intent in intents), wait_s=wait_s)

    def tags(self, kind: str) -> dict[str, str]:
        """The tags that are to be put on what is made of this kind."""
        return tags_of_kind(self["TagSpecifications"] or (), kind)


def tags_of_kind(specifications: Iterable[Mapping[str, Any]], kind: str) -> dict[str, str]:
    """What specifications say of things of one kind."""
    return tags_in(
        tag
        for specification in specifications
        if specification.get("ResourceType") == kind
        for tag in specification.get("Tags", ())
    )


def tags_in(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags by their names; raises `Fault` for one that is twice there, or is EC2's own."""
    found: dict[str, str] = {}
    for tag in tags:
        name = tag.get("Key", "")
        if name in found:
            raise Fault("InvalidParameterValue", f"Duplicate tag key '{name}' specified.")
        if name.lower().startswith("aws:"):
            raise Fault("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
        found[name] = tag.get("Value", "")
    return found


Run = Callable[[Call], Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True)
class Row:
    """One operation of the door; see the rules of this module. `about` is one sentence for the reference.

    `tags` are the kinds of things that may be tagged as they are made.
    """

    action: str
    about: str
    run: Run | None = None
    takes: str = ""
    role: Role = Role.OPERATOR
    listing: Listing | None = None
    harmless: Mapping[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @property
    def understood(self) -> frozenset[str]:
        """All arguments that the row takes, whatever their value."""
        more = {"DryRun", *(("TagSpecifications",) if self.tags else ())}
        listed = self.listing.takes if self.listing else ()
        return frozenset({*self.takes.split(), *more, *listed})


def see(action: str, about: str, listing: Listing, takes: str = "") -> Row:
    """A row that lists things."""
    return Row(action, about, takes=takes, role=Role.VIEWER, listing=listing)


def owner(stock: Stock) -> str:
    """The account that stands for the project."""
    return account(stock.project.number)


def tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers have them."""
    return [{"Key": name, "Value": text} for name, text in sorted(tags.items())]
