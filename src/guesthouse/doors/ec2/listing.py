"""Listing things: those with certain ids, those that filters let through, a page at a time.

Rules
-----
1. Things are listed as answers have them: filters look at nothing else, so what can be seen can be filtered by.
2. Ids that are not there are refused, all at once, by the error that EC2 has for them.
3. A page begins after the thing that its token names. One whose thing is gone meanwhile begins where that was.
4. Things are in the order of their making.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guesthouse.doors.ec2.filters import Alias, Filters
from guesthouse.engine.stock import Stock
from guesthouse.formats.awsquery.fault import Fault

Item = Mapping[str, Any]
Chooses = Callable[[Stock, Mapping[str, Any]], Callable[[Item], bool]]
Finish = Callable[[Stock, Sequence[Item], Mapping[str, Any]], Sequence[Item]]
MAX_PAGE = 1000


def by_arguments(may: Callable[[Item, Mapping[str, Any]], bool]) -> Chooses:
    """Choose by what is said of each thing in the arguments alone."""
    return lambda stock, arguments: lambda item: may(item, arguments)


@dataclass(frozen=True)
class Named:
    """An argument that names things: by which member of theirs, and the error where there is none."""

    argument: str
    member: str
    missing: str
    what: str


@dataclass(frozen=True)
class Listing:
    """How one operation lists.

    `member` is the answer's list; `items` makes it from what the project has of `nouns`. `named` are the arguments that
    name things, the first one by their ids; `chooses` looks at others that choose. `aliases` are filters whose names do
    not say where to look. `finish` makes the answer's list of the chosen items, where that is another one: they are in
    it at `inside`. `known_by` are members that tell items apart, where the first of `named` does
    not; where there is neither, their first one does.
    """

    member: str
    nouns: tuple[str, ...]
    items: Callable[[Stock], Iterable[Item]]
    named: tuple[Named, ...] = ()
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    chooses: Chooses | None = None
    known_by: tuple[str, ...] = ()
    finish: Finish = lambda stock, items, arguments: items

    @property
    def takes(self) -> tuple[str, ...]:
        return ("Filters", "Filter", "MaxResults", "NextToken", *(each.argument for each in self.named))

    def answer(self, stock: Stock, arguments: Mapping[str, Any], filters: Filters) -> dict[str, Any]:
        """The chosen page; raises `Fault` for ids that are not there, for filters, and for tokens that are none."""
        items = list(self.items(stock))
        for each in self.named:
            if wanted := arguments.get(each.argument):
                items = _of(items, each, wanted)
        if self.chooses is not None:
            may = self.chooses(stock, arguments)
            items = [item for item in items if may(item)]
        found, token = self._page(filters.chosen(items), arguments)
        answer: dict[str, Any] = {self.member: self.finish(stock, found, arguments)}
        return {**answer, "NextToken": token} if token else answer

    def _page(self, items: Sequence[Item], arguments: Mapping[str, Any]) -> tuple[Sequence[Item], str]:
        most, token = arguments.get("MaxResults"), arguments.get("NextToken")
        if most is not None and self.named and arguments.get(self.named[0].argument):
            both = f"The parameter {self.named[0].argument} cannot be used with the parameter MaxResults"
            raise Fault("InvalidParameterCombination", both)
        if most is not None and not 1 <= most <= MAX_PAGE:
            wrong = f"Value ({most}) for parameter MaxResults is invalid. It is from 1 to {MAX_PAGE}"
            raise Fault("InvalidParameterValue", wrong)
        begin = self._begin(items, token) if token else 0
        end = len(items) if most is None else begin + most
        more = f"{end}:{self._id(items[end - 1])}" if end < len(items) else ""
        return items[begin:end], base64.urlsafe_b64encode(more.encode()).decode()

    def _begin(self, items: Sequence[Item], token: str) -> int:
        try:
            number, _, last = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
            end = int(number)
        except (ValueError, binascii.Error):
            raise Fault("InvalidNextToken", f"The token '{token[:100]}' is invalid.") from None
        for position, item in enumerate(items):
            if self._id(item) == last:
                return position + 1
        return min(max(end, 0), len(items))

    def _id(self, item: Item) -> str:
        members = self.known_by or tuple(each.member for each in self.named[:1]) or (next(iter(item)),)
        return " ".join(str(item[member]) for member in members)


def _of(items: Sequence[Item], named: Named, wanted: Sequence[str]) -> list[Item]:
    """The items that are named, in their own order."""
    found = [item for item in items if item.get(named.member) in wanted]
    there = {item[named.member] for item in found}
    if missing := [name for name in dict.fromkeys(wanted) if name not in there]:
        plural = len(missing) > 1
        words = f"The {named.what}{'s' if plural else ''} '{', '.join(missing)}' do{'' if plural else 'es'} not exist"
        raise Fault(named.missing, words)
    return found
