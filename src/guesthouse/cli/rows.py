"""What a row of the command table is made of.

Rules
-----
1. A command is one `Command` row: its name, its parameters, the request it makes and how the answer is shown.
   The click command, its help, its completion and its chapter of docs/cli.md all come from that row.
2. Parameters go where the request wants them: those named in the path into the path, the others into the query
   (GET, DELETE) or the JSON body (POST, PATCH, PUT). A dotted key nests: ``forward.guest_port``. What was not
   said is left out, so that defaults live in one place, the engine.
3. A command that is no plain request names a function in `run`, as ``module:function``. It is imported when
   the command runs, never before: `guest --help` pays for no command.
4. This module and the tables hold data only and import nothing heavy: every call of `guest` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Values = Mapping[str, Any]
"""What was said on a command line, by the keys of its row's parameters."""

Document = Mapping[str, Any]
Reader = Callable[[str], object]


class Argument(NamedTuple):
    """A positional parameter. `many` takes one or more; `complete` names a row of `complete.SOURCES`."""

    key: str
    help: str
    metavar: str = ""
    required: bool = True
    many: bool = False
    read: Reader | None = None
    complete: str = ""


class Option(NamedTuple):
    """A named parameter.

    `flags` are separated by spaces. `read` turns the text into the value that is sent; `switch` takes no text and
    means true; `bare` is the text meant when none is written. `local` keeps it out of the request: only the row's
    function looks at it.
    """

    flags: str
    key: str
    help: str
    metavar: str = "TEXT"
    read: Reader | None = None
    choices: tuple[str, ...] = ()
    switch: bool = False
    bare: str = ""
    repeat: bool = False
    required: bool = False
    local: bool = False
    complete: str = ""


class Request(NamedTuple):
    """Method and path of the native door, version 1; ``{key}`` in the path is a parameter."""

    method: str
    path: str


class Column(NamedTuple):
    """A column of a list or a line of a record: its title, where the value is, and how people write it.

    `key` is dotted (``quota.vcpus``). `write` names a row of `show.WRITERS`. `right` aligns numbers.
    """

    title: str
    key: str
    write: str = "text"
    right: bool = False


class Command(NamedTuple):
    """One command of `guest`.

    `name` is what is typed (``disk attach``). `columns` show a list, `fields` one record, `answer` a line that is
    the result; `done` is said when there is nothing else to say. Both are filled with the answer's fields and
    the parameters. `durable`: the answer is an operation, to be waited for. `confirm` is asked before the request
    where somebody can answer. `names` are (column, path of a list): ids in that column are shown as names.
    `defaults` are path parameters that need not be said. `relists` marks what changes the way into machines: an
    installed SSH configuration is written anew. `takes_rest`: what follows the first argument is not ours to read.
    """

    name: str
    help: str
    section: str
    parameters: tuple[Argument | Option, ...] = ()
    request: Request | None = None
    columns: tuple[Column, ...] = ()
    fields: tuple[Column, ...] = ()
    answer: str = ""
    done: str = ""
    durable: bool = False
    confirm: str = ""
    names: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    relists: bool = False
    run: str = ""
    about: str = ""
    examples: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    takes_rest: bool = False

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return tuple(each for each in self.parameters if isinstance(each, Argument))

    @property
    def options(self) -> tuple[Option, ...]:
        return tuple(each for each in self.parameters if isinstance(each, Option))


class Group(NamedTuple):
    """The first word of commands of two words."""

    name: str
    help: str
    section: str
