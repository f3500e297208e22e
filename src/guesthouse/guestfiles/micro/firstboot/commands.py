"""Programs that user-data brings: bootcmd, runcmd, scripts.

As in cloud-init, all items of a list become one shell script, and what fails is that script: the exit status
of its last command. `set -e` is for the user to write.

Source: cloud-init's reference of the modules "Bootcmd", "Runcmd" and "Scripts User".
"""

from __future__ import annotations

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .guest import Guest

_SCRIPTS = "/var/lib/cloud/instance/scripts"


def shell_script(module: str, items: Any) -> str:
    """A shell script of a list whose items are shell lines or argument lists."""
    if isinstance(items, str):
        items = [items]
    if not isinstance(items, list):
        raise Refused(f"{module} must be a list, not {type(items).__name__}")
    return "#!/bin/sh\n" + "".join(_line(module, number, item) for number, item in enumerate(items, start=1))


def _line(module: str, number: int, item: Any) -> str:
    if item is None:
        return ""
    if isinstance(item, str):
        return f"{item}\n"
    if isinstance(item, list) and all(isinstance(word, str | int | float) for word in item):
        return " ".join(_quoted(str(word)) for word in item) + "\n"
    raise Refused(f"{module}, item {number}: neither a text nor a list of texts")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def run_script(guest: Guest, module: str, script: bytes) -> None:
    """Run a script in `/`, its output going to the log. Raises `Refused` when it fails."""
    path = f"{_SCRIPTS}/{module}"
    guest.write(path, script, 0o700)
    status, last = guest.run_logged([guest.path(path)])
    if status:
        raise Refused(f"exit status {status}" + (f": {last}" if last else ""))


def run_all(guest: Guest, scripts: Iterable[bytes]) -> None:
    """Run user-data's own scripts in order; a failed one does not stop the next."""
    failed = []
    for number, script in enumerate(scripts, start=1):
        try:
            run_script(guest, f"part-{number:03d}", script)
        except Refused as failure:
            failed.append(f"part-{number:03d}: {failure}")
    if failed:
        raise Refused("; ".join(failed))
