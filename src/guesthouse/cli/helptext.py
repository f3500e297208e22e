"""Help, rendered from the rows: for the terminal and, unchanged, for docs/cli.md.

Rules
-----
1. Plain text, at most 80 columns, the same every time.
2. Order: usage, what it does, arguments, options, common options, examples.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from guesthouse.cli.rows import Argument, Command, Group, Option
from guesthouse.cli.table import COMMANDS, COMMON, GROUPS, HOUSE_OPTIONS, SECTIONS
from guesthouse.cli.words import aliases, children, common_options

_WIDTH = 80
_LEFT = 26


def of_all() -> str:
    """Help of `guest` itself: all commands by section."""
    parts = [
        "Usage: guest [OPTIONS] COMMAND …",
        "Real virtual machines on this box, or on another one.",
    ]
    for section in SECTIONS:
        words = [word for word in children("") if _section(word) == section]
        parts.append(_block(section, [(word, children("")[word]) for word in words]))
    parts.append(_block("Options", [*map(_option, (*COMMON, *HOUSE_OPTIONS)), ("--version", "print the version")]))
    parts.append("`guest COMMAND --help` shows a command's options and examples.")
    return "\n\n".join(parts)


def of_group(group: Group) -> str:
    """Help of a first word such as `guest disk`."""
    listed = [(_with_aliases(group.name, word), help) for word, help in children(group.name).items()]
    return "\n\n".join((f"Usage: guest {group.name} COMMAND …", _sentence(group.help), _block("Commands", listed)))


def of_command(row: Command) -> str:
    """Help of one command."""
    parts = [usage(row), _wrapped(_sentence(row.help) + (f" {row.about}" if row.about else ""))]
    parts.append(_block("Arguments", [(_shown(each), each.help) for each in row.arguments]))
    parts.append(_block("Options", [_option(each) for each in row.options]))
    parts.append(_block("Common options", [_option(each) for each in common_options(row)]))
    parts.append("\n".join(["Examples:", *(f"  {example}" for example in row.examples)]) if row.examples else "")
    return "\n\n".join(part for part in parts if part)


def usage(row: Command) -> str:
    """The usage line: ``Usage: guest stop [OPTIONS] MACHINE…``."""
    words = [_shown(each) for each in row.arguments]
    return " ".join(["Usage: guest", row.name, *(["[OPTIONS]"]), *words])


def _section(word: str) -> str:
    return COMMANDS[word].section if word in COMMANDS else GROUPS[word].section


def _with_aliases(words: str, word: str) -> str:
    return ", ".join([word, *(alias for alias, meant in aliases(words).items() if meant == word)])


def _shown(argument: Argument) -> str:
    shown = (argument.metavar or argument.key.upper()) + ("…" if argument.many else "")
    return shown if argument.required else f"[{shown}]"


def _option(option: Option) -> tuple[str, str]:
    flags = ", ".join(sorted(option.flags.split(), key=lambda flag: (flag.startswith("--"), flag)))
    value = "|".join(option.choices) if option.choices else option.metavar
    notes = [note for note, holds in (("repeatable", option.repeat), ("required", option.required)) if holds]
    help = option.help + (f" ({', '.join(notes)})" if notes else "")
    return (flags if option.switch else f"{flags} [{value}]" if option.bare else f"{flags} {value}", help)


def _block(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """A title over two aligned columns; empty without lines."""
    if not lines:
        return ""
    left = min(_LEFT, max(len(first) for first, _ in lines) + 4)
    return "\n".join([f"{title}:", *(row for first, second in lines for row in _two_columns(first, second, left))])


def _two_columns(first: str, second: str, left: int) -> Iterable[str]:
    wrapped = textwrap.wrap(second, _WIDTH - left, break_long_words=False, break_on_hyphens=False) or [""]
    if len(first) + 4 > left:
        yield f"  {first}"
    else:
        yield f"  {first:<{left - 2}}{wrapped.pop(0)}".rstrip()
    yield from (f"{'':{left}}{line}" for line in wrapped)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _wrapped(text: str) -> str:
    return "\n\n".join(textwrap.fill(paragraph, _WIDTH, break_on_hyphens=False) for paragraph in text.split("\n\n"))
