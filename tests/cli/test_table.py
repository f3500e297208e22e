"""The table itself, and what is rendered from it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import MAIN, SOURCE, Guest

from guesthouse.cli import helptext
from guesthouse.cli.complete import SOURCES
from guesthouse.cli.exits import EXITS
from guesthouse.cli.reference import render
from guesthouse.cli.rows import Command, Option
from guesthouse.cli.show import WRITERS
from guesthouse.cli.table import COMMANDS, GROUPS, HOUSE_OPTIONS, SECTIONS
from guesthouse.cli.words import aliases, children, common_options
from guesthouse.doors.native.table import GROUPS as DOOR
from guesthouse.model.errors import KINDS

WAYS = {(row.method, re.sub(r"{\w+}", "{}", row.path)): row for rows in DOOR.values() for row in rows}
REFERENCE = Path(__file__).parents[2] / "docs/cli.md"


def test_the_reference_is_the_rendered_table(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--refresh-golden"):
        REFERENCE.write_text(render())
    assert REFERENCE.read_text() == render(), "python -m guesthouse.cli.reference > docs/cli.md"


@pytest.mark.parametrize("name", ["", *GROUPS, *COMMANDS])
async def test_help_is_as_in_the_reference_and_fits(name: str, tmp_path: Path) -> None:
    shown = (await Guest(tmp_path).ok(f"{name} --help")).out.rstrip("\n")
    assert [line for line in shown.splitlines() if len(line) > 80 and not line.startswith("  guest ")] == []
    if name in GROUPS:
        assert shown == helptext.of_group(GROUPS[name])
    else:
        assert f"```text\n{shown}\n```" in REFERENCE.read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_row_is_whole(name: str) -> None:
    row = COMMANDS[name]
    assert row.section in SECTIONS
    assert name.partition(" ")[0] in GROUPS or " " not in name
    if row.run:
        module, _, function = row.run.partition(":")
        assert callable(getattr(importlib.import_module(f"guesthouse.cli.commands.{module}"), function))
    else:
        assert row.request
        assert row.columns or row.fields or row.answer or row.done
    assert {column.write for column in (*row.columns, *row.fields)} <= set(WRITERS)
    assert {each.complete for each in row.parameters if each.complete} <= set(SOURCES)
    flags = [flag for option in (*row.options, *common_options(row), *HOUSE_OPTIONS) for flag in option.flags.split()]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize("name", [row.name for row in COMMANDS.values() if row.request])
def test_a_request_is_one_of_the_doors(name: str) -> None:
    assert _way(COMMANDS[name]) in WAYS


@pytest.mark.parametrize("name", [row.name for row in COMMANDS.values() if row.request and not row.run])
def test_what_is_sent_is_what_the_door_takes(name: str) -> None:
    row = COMMANDS[name]
    there = WAYS[_way(row)]
    taken = {*there.params.__struct_fields__, *getattr(there.body, "__struct_fields__", ())}
    sent = {each.key.partition(".")[0] for each in row.parameters if not (isinstance(each, Option) and each.local)}
    assert sent <= taken


def _way(row: Command) -> tuple[str, str]:
    assert row.request
    return row.request.method, re.sub(r"{\w+}", "{}", row.request.path)


@pytest.mark.parametrize(
    "line", ["--nothing", "nothing", "disk", "disk nothing", "list --nothing", "list more", "show", "stop", "show a b",
             "launch --firmware coreboot", "apply", "launch --memory", "copy one"]
)  # fmt: skip
async def test_what_is_unknown_or_missing_is_refused(line: str, tmp_path: Path) -> None:
    ended = await Guest(tmp_path)(line)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(r"error: .+\nhint: `guest.* --help` shows how it is used\n", ended.err)


def test_commands_named_in_hints_exist() -> None:
    """Every `guest …` in an error or a hint, anywhere in the source, is a command with options that it has."""
    named = {each for path in SOURCE.rglob("*.py") for each in re.findall(r"`guest ([a-z][^`\n]*)`", path.read_text())}
    assert len(named) > 20
    for line in named:
        words = line.split()
        name = next((each for each in (" ".join(words[:2]), words[0]) if each in COMMANDS or each in GROUPS), "")
        assert name, line
        if name in COMMANDS:
            row = COMMANDS[name]
            flags = {flag for option in (*row.options, *common_options(row)) for flag in option.flags.split()}
            assert {word for word in words if re.fullmatch(r"-{1,2}[a-z][a-z-]*", word)} <= flags | {"--help"}, line


def test_names_below_a_group() -> None:
    assert list(children("disk"))[:2] == ["create", "list"]
    assert aliases("disk") == {"ls": "list"}
    assert children("list") == {}


def test_exit_codes_are_those_of_the_kinds_and_apart() -> None:
    codes = [each.code for each in EXITS]
    assert len(codes) == len(set(codes))
    assert {kind.exit_code for kind in KINDS.values()} < set(codes)


def test_nothing_heavy_is_imported_before_a_command_runs(tmp_path: Path) -> None:
    heavy = (
        "rich",
        "httpx",
        "yaml",
        "sqlalchemy",
        "starlette",
        "websockets",
        "msgspec",
        "ssl",
        "http.client",
        "asyncio",
    )
    code = f"import sys, guesthouse.cli.main; print([name for name in {heavy} if name in sys.modules])"
    environment = Guest(tmp_path).process_environment()
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_listing_imports_what_it_needs_and_no_more(tmp_path: Path) -> None:
    heavy = ("rich", "httpx", "yaml", "sqlalchemy", "starlette", "websockets", "msgspec", "asyncio")
    code = (
        "import sys; from guesthouse.cli.main import run; from guesthouse.cli.terminal import standard\n"
        f"run(['list'], standard()); print([name for name in {heavy} if name in sys.modules])"
    )
    environment = Guest(tmp_path).process_environment()
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    environment = Guest(tmp_path).process_environment()
    script = f"{MAIN[0]} -c '{MAIN[2]}' --help | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (ended.stdout.strip() in ("0", "141"), ended.stderr) == (True, "")
