"""From rows to click commands.

Rules
-----
1. A click command is made when it is typed, from its row; `guest --help` makes none.
2. Unknown options and commands are refused by click; bad values by the row's reader, which names the option.
3. The common options (`COMMON`) and those that name a house may stand before or behind the command; the nearer one
   counts. The help of a command leaves the latter out.
4. Command names and parameters are the row's; help is rendered by `helptext`, for the terminal and the docs alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from guesthouse.cli.exits import Interrupted
from guesthouse.cli.rows import Argument, Command, Option
from guesthouse.cli.table import COMMANDS, COMMON, GROUPS, HOUSE_OPTIONS
from guesthouse.cli.terminal import Terminal
from guesthouse.cli.words import aliases, children, common_options
from guesthouse.model.errors import Invalid

if TYPE_CHECKING:
    from guesthouse.cli.context import Context

_SETTINGS = {"max_content_width": 80, "help_option_names": ["--help", "-h"]}

# Set by the completion scripts: what the shell wants to know.
COMPLETE_VARIABLE = "_GUEST_COMPLETE"


class Run(NamedTuple):
    """What goes with one run of `guest`: its terminal, and the common options said before the command."""

    terminal: Terminal
    said: dict[str, Any]


class _Helped:
    """Help from the row, through the terminal of the run."""

    help_of: Callable[[], str]

    def get_help_option(self, ctx: click.Context) -> click.Option:
        def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
            if value and not ctx.resilient_parsing:
                run: Run = ctx.find_root().obj
                run.terminal.out(self.help_of())
                ctx.exit()

        return click.Option(
            ["--help", "-h"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show this help."
        )


class RowCommand(_Helped, click.Command):
    """One row as a click command."""


class TableGroup(_Helped, click.Group):
    """All commands below some first words, each made when it is asked for."""

    def __init__(self, words: str, **settings: Any) -> None:
        super().__init__(name=words or "guest", context_settings=_SETTINGS, **settings)
        self.words = words
        self.no_args_is_help = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(children(self.words))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        word = aliases(self.words).get(cmd_name, cmd_name)
        return make(f"{self.words} {word}".strip())


def make(words: str) -> click.Command | None:
    """The click command or group of these words; None where there is none."""
    if words in COMMANDS:
        return _command(COMMANDS[words])
    if words in GROUPS:
        group = TableGroup(words, help=GROUPS[words].help)
        group.help_of = lambda: _helptext().of_group(GROUPS[words])
        return group
    return None


def root() -> TableGroup:
    """The `guest` command."""
    options = (*COMMON, *HOUSE_OPTIONS)
    group = TableGroup(
        "",
        params=[*map(_parameter, options), _version_option()],
        callback=click.pass_context(lambda ctx, **given: ctx.obj.said.update(_said(options, given))),
    )
    group.help_of = lambda: _helptext().of_all()
    return group


def _command(row: Command) -> click.Command:
    common = (*common_options(row), *HOUSE_OPTIONS)
    settings: dict[str, Any] = {**_SETTINGS}
    if row.takes_rest:
        # What follows belongs to a program in the guest, or to ssh: its options are not ours.
        settings["allow_interspersed_args"] = False

    @click.pass_context
    def callback(ctx: click.Context, /, **given: Any) -> int:
        from guesthouse.cli.context import Context

        run: Run = ctx.find_root().obj
        context = Context(run.terminal, {**run.said, **_said(common, given)})
        try:
            return _function(row)(context, row, _said(row.parameters, given)) or 0
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None
        finally:
            context.close()

    parameters = [_parameter(each) for each in (*row.parameters, *common)]
    command = RowCommand(row.name, callback=callback, params=parameters, help=row.help, context_settings=settings)
    command.help_of = lambda: _helptext().of_command(row)
    return command


def _function(row: Command) -> Callable[[Context, Command, Mapping[str, Any]], int | None]:
    """What runs a row; imported now, when it is to run."""
    module, _, name = (f"commands.{row.run}" if row.run else "perform:perform").partition(":")
    function: Callable[[Context, Command, Mapping[str, Any]], int | None]
    function = getattr(importlib.import_module(f"guesthouse.cli.{module}"), name)
    return function


def _parameter(row: Argument | Option) -> click.Parameter:
    complete = _completer(row.complete) if row.complete else None
    if isinstance(row, Argument):
        return click.Argument(
            [identifier(row.key)],
            required=row.required,
            nargs=-1 if row.many else 1,
            type=click.UNPROCESSED,
            metavar=row.metavar or row.key.upper(),
            shell_complete=complete,
        )
    flags = [*row.flags.split(), identifier(row.key)]
    if row.switch:
        return click.Option(flags, is_flag=True, help=row.help)
    optional: dict[str, Any] = {"is_flag": False, "flag_value": row.bare} if row.bare else {}
    return click.Option(
        flags,
        **optional,
        required=row.required,
        multiple=row.repeat,
        type=click.Choice(row.choices) if row.choices else None,
        metavar=row.metavar,
        help=row.help,
        shell_complete=complete,
    )


def _completer(source: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from guesthouse.cli.complete import candidates

        return candidates(source, ctx.find_root().params, ctx.params, incomplete)

    return complete


def _version_option() -> click.Option:
    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            from guesthouse import __version__

            run: Run = ctx.find_root().obj
            run.terminal.out(f"guest {__version__}")
            ctx.exit()

    return click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="")


def _said(rows: Sequence[Argument | Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, read by the rows' readers, by the rows' keys; what was not said is left out."""
    said: dict[str, Any] = {}
    for row in rows:
        value = given.get(identifier(row.key))
        if value is None or value is False or value == ():
            continue
        said[row.key] = [_read(row, each) for each in value] if isinstance(value, tuple) else _read(row, value)
    return said


def _read(row: Argument | Option, value: Any) -> Any:
    if row.read is None:
        return value
    try:
        return row.read(value)
    except Invalid as error:
        where = row.flags.split()[0] if isinstance(row, Option) else row.metavar or row.key.upper()
        raise Invalid(f"{where}: {error}", field=error.field or row.key, value=value, hint=error.hint) from None


def identifier(key: str) -> str:
    """The name that click knows a key by."""
    return key.replace(".", "__")


def _helptext() -> Any:
    from guesthouse.cli import helptext

    return helptext
