"""Rule sets as values, and as texts for ``nft -f -``: a whole one, or the way from one to another.

Rules
-----
1. A rule set is made of parts: one for each group, one for each port. To get from one set to another only the parts
   are written that the two do not share.
2. Every text is one transaction: it holds whole or not at all. No packet sees something between.
3. Connections are the kernel's and live on, whatever happens to the rules that once let them through.
4. Texts are for the program nft. libnftables in our own process is 5 to 20 ms faster (`bench/rules.py`); that is not
   worth a C parser inside a daemon that is root.

Source: nft(8). What is added comes first, so that all that is named is there; what is taken away comes last, when
nobody names it any more; an element leaves before the same one comes with another value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

_Thing = TypeVar("_Thing")


class Element(NamedTuple):
    """An element of a set, or of a map when it has a value."""

    table: str
    name: str
    key: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key} : {self.value}" if self.value else self.key


class Store(NamedTuple):
    """A set or a map; `declaration` is its type, as nft writes it."""

    table: str
    kind: str
    name: str
    declaration: str


class Chain(NamedTuple):
    """A chain; `hook` is where the kernel enters it, "" for one that others jump to."""

    table: str
    name: str
    rules: tuple[str, ...]
    hook: str = ""


@dataclass(frozen=True)
class Part:
    """What one thing brings into the rule set: sets and maps, chains, and elements of its own and others' sets."""

    stores: Sequence[Store] = ()
    chains: Sequence[Chain] = ()
    elements: Sequence[Element] = ()


def whole(tables: Sequence[str], parts: Sequence[Part]) -> str:
    """The text that makes these tables, in this order, of their parts, whatever there was."""
    return without(tables) + "".join(_table(table, parts) for table in tables)


def without(tables: Iterable[str]) -> str:
    """The text after which there are no such tables."""
    return "".join(f"table {table}\ndelete table {table}\n" for table in tables)


def difference(gone: Sequence[Part], come: Sequence[Part]) -> str:
    """The text that makes one rule set of another: without the parts `gone`, with `come`; empty when these are equal.

    A chain that enters a hook may not be among what differs, nor a set with another type: write the whole then.
    """
    old_stores, new_stores = _changed([p.stores for p in gone], [p.stores for p in come])
    old_elements, new_elements = _changed([p.elements for p in gone], [p.elements for p in come])
    old_chains, new_chains = _changed([p.chains for p in gone], [p.chains for p in come])
    names = {(chain.table, chain.name) for chain in new_chains}
    known = {(chain.table, chain.name) for chain in old_chains}
    lost = [chain for chain in old_chains if (chain.table, chain.name) not in names]
    lines = [
        *(f"add {s.kind} {s.table} {s.name} {{ {s.declaration}; }}" for s in new_stores),
        *(f"add chain {c.table} {c.name}" for c in new_chains if (c.table, c.name) not in known),
        *_elements("delete", old_elements, {(s.table, s.name) for s in old_stores}),
        *(f"flush chain {c.table} {c.name}" for c in old_chains),
        *(f"add rule {c.table} {c.name} {rule}" for c in new_chains for rule in c.rules),
        *_elements("add", new_elements, set()),
        *(f"delete chain {c.table} {c.name}" for c in lost),
        *(f"delete {s.kind} {s.table} {s.name}" for s in old_stores),
    ]
    return "".join(f"{line}\n" for line in lines)


def _changed(gone: Iterable[Iterable[_Thing]], come: Iterable[Iterable[_Thing]]) -> tuple[list[_Thing], list[_Thing]]:
    """What there is only before, and only after, each in its order; two parts may bring the same."""
    before = dict.fromkeys(thing for things in gone for thing in things)
    after = dict.fromkeys(thing for things in come for thing in things)
    return [thing for thing in before if thing not in after], [thing for thing in after if thing not in before]


def _elements(verb: str, elements: Iterable[Element], lost: set[tuple[str, str]]) -> list[str]:
    """One line a set; a set that is lost takes its elements along. What is deleted is named by its key alone."""
    by_store: dict[tuple[str, str], list[str]] = {}
    for element in elements:
        if (element.table, element.name) not in lost:
            by_store.setdefault((element.table, element.name), []).append(str(element))
    return [f"{verb} element {table} {name} {{ {', '.join(e)} }}" for (table, name), e in by_store.items()]


def _table(table: str, parts: Sequence[Part]) -> str:
    elements: dict[str, list[str]] = {}
    for part in parts:
        for element in part.elements:
            if element.table == table:
                elements.setdefault(element.name, []).append(str(element))
    blocks = [_store(s, elements.get(s.name, ())) for part in parts for s in part.stores if s.table == table]
    blocks += [_chain(chain) for part in parts for chain in part.chains if chain.table == table]
    return f"table {table} {{\n" + "\n".join(blocks) + "}\n"


def _store(store: Store, elements: Sequence[str]) -> str:
    each = ["elements = {", *(f"\t{element}," for element in elements), "}"] if elements else []
    return _block(f"{store.kind} {store.name}", [store.declaration, *each])


def _chain(chain: Chain) -> str:
    return _block(f"chain {chain.name}", ((chain.hook, *chain.rules) if chain.hook else chain.rules))


def _block(head: str, lines: Iterable[str]) -> str:
    return f"\t{head} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
