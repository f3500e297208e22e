"""Completion, asked the way that shells ask."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from tests.cli.conftest import MAIN, Guest

BASH = """
guest() {{ {main} "$@"; }}
source <(guest completion bash)
COMP_WORDS=({words}) COMP_CWORD={last}
_guest_completion guest
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


async def bash(guest: Guest, *words: str) -> list[str]:
    """What bash would offer for the last word."""
    main = f"{MAIN[0]} -c '{MAIN[2]}'"
    bin = guest.home / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "guest").write_text(f'#!/bin/sh\nexec {main} "$@"\n')
    (bin / "guest").chmod(0o755)
    script = BASH.format(main="command guest", words=" ".join(repr(word) for word in words), last=len(words) - 1)
    environment = guest.process_environment()
    environment["PATH"] = f"{bin}:{environment['PATH']}"
    ended = await asyncio.to_thread(
        subprocess.run, ["bash", "-c", script], env=environment, capture_output=True, text=True
    )
    assert ended.stderr == ""
    return ended.stdout.split()


async def test_bash_completes_commands_and_machines(guest: Guest) -> None:
    await guest.ok("image build micro")
    await guest.ok("launch --name web --no-start")
    await guest.ok("launch --name west --no-start")
    await guest.ok("project create shop")
    await guest.ok("template create micro")
    await guest.ok("snapshot create web fresh")
    await guest.ok("snapshot create west later")
    await guest.ok("network create lab")
    await guest.ok("group create lab front")
    assert await bash(guest, "guest", "network", "delete", "l") == ["lab"]
    assert await bash(guest, "guest", "group", "rule", "a") == ["add"]
    assert await bash(guest, "guest", "group", "rule", "add", "lab", "f") == ["front"]
    assert await bash(guest, "guest", "sta") == ["start"]
    assert await bash(guest, "guest", "start", "we") == ["web", "west"]
    assert await bash(guest, "guest", "start", "web", "wes") == ["west"]
    assert await bash(guest, "guest", "launch", "mi") == ["micro"]
    assert await bash(guest, "guest", "template", "create", "mi") == ["micro"]
    assert await bash(guest, "guest", "template", "show", "micro-") == ["micro-1-512"]
    assert await bash(guest, "guest", "launch", "--col") == ["--cold"]
    assert await bash(guest, "guest", "snapshot", "re") == ["revert", "rename"]
    assert await bash(guest, "guest", "snapshot", "revert", "we") == ["web", "west"]
    assert await bash(guest, "guest", "snapshot", "revert", "web", "") == ["fresh"]
    assert await bash(guest, "guest", "snapshot", "delete", "--yes", "west", "l") == ["later"]
    assert await bash(guest, "guest", "snapshot", "show", "nobody", "f") == []
    assert await bash(guest, "guest", "snapshot", "create", "web", "f") == []
    assert await bash(guest, "guest", "launch", "--firmware", "u") == ["uefi"]
    assert await bash(guest, "guest", "disk", "show", "web-") == ["web-root", "west-root"][:1]
    assert await bash(guest, "guest", "list", "--project", "s") == ["shop"]
    assert await bash(guest, "guest", "--project", "shop", "start", "w") == []
    assert await bash(guest, "guest", "stop", "--fo") == ["--force"]


async def test_without_a_daemon_nothing_is_offered(tmp_path: Path) -> None:
    assert await bash(Guest(tmp_path), "guest", "start", "w") == []


@pytest.mark.parametrize(
    ("shell", "sign"), [("zsh", "#compdef guest"), ("fish", "complete --no-files --command guest")]
)
async def test_other_shells_have_scripts(shell: str, sign: str, tmp_path: Path) -> None:
    script = (await Guest(tmp_path).ok(f"completion {shell}")).out
    assert sign in script
    assert f"_GUEST_COMPLETE={shell}_complete" in script


async def test_a_shell_without_completion_is_refused(tmp_path: Path) -> None:
    ended = await Guest(tmp_path)("completion tcsh")
    assert (ended.code, ended.err) == (2, "error: no completion for 'tcsh'\nhint: bash, zsh or fish\n")
