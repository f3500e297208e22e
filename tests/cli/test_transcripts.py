"""Every row of the table, used: what a person sees, as golden files."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from tests.cli.conftest import Guest
from tests.cli.transcripts import ELSEWHERE, TRANSCRIPTS
from tests.golden.golden import FOLDER, Golden

from guesthouse.cli.build import aliases
from guesthouse.cli.table import COMMANDS, GROUPS
from guesthouse.engine.kinds import BY_ITSELF


@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_what_a_person_sees(
    name: str, guest: Guest, golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = []
    for written in TRANSCRIPTS[name]:
        line, _, stdin = written.removeprefix("!").partition(" < ")
        ended = await guest(line, stdin.encode())
        assert (ended.code != 0) == written.startswith("!"), ended
        # Which phases are seen while waiting is a matter of timing; test_waiting.py looks at them.
        told = [each for each in ended.err.splitlines() if each.startswith(("error: ", "hint: "))]
        # So is whether the house is just busy with what nobody asked for.
        out = [each for each in ended.out.splitlines() if not each.endswith(tuple(BY_ITSELF.values()))]
        parts = [f"$ guest {line}", "\n".join(out).rstrip("\n"), *told]
        parts.append(f"[{ended.code}]" if ended.code else "")
        shown.append("\n".join(part for part in parts if part))
    golden(f"cli/{name}.txt", guest.steady("\n\n".join(shown)) + "\n")


def test_every_row_is_used() -> None:
    used = {_row(line) for lines in TRANSCRIPTS.values() for line in lines if not line.startswith("!")}
    assert used | set(ELSEWHERE) | {"exec"} == set(COMMANDS)


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_results_fit_eighty_columns(name: str) -> None:
    shown = (FOLDER / f"cli/{name}.txt").read_text().splitlines()
    assert [line for line in shown if len(line) > 80 and not line.startswith(("$ ", "error:", "hint:"))] == []


def _row(line: str) -> str:
    words = ""
    for word in shlex.split(line.partition(" < ")[0]):
        words = f"{words} {aliases(words).get(word, word)}".strip()
        if words not in GROUPS:
            return words
    raise AssertionError(f"{line} is no command")
