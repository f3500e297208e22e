"""QMP messages as values: the daemon sends them, this floor only knows how they read."""

from __future__ import annotations

from typing import Any, NamedTuple


class Command(NamedTuple):
    """A QMP command: ``execute`` and its ``arguments``."""

    name: str
    arguments: dict[str, Any] = {}  # noqa: RUF012 - a NamedTuple's default, never written to


STATUS = Command("query-status")
RESUME = Command("cont")
PAUSE = Command("stop")
POWER_DOWN = Command("system_powerdown")
RESET = Command("system_reset")
QUIT = Command("quit")
MACHINES = Command("query-machines")
BALLOON = Command("query-balloon")


def screendump(fdset: int) -> Command:
    """Write what the screen shows, as PPM, to the file that is lent as this set."""
    return Command("screendump", {"filename": f"/dev/fdset/{fdset}", "format": "ppm"})


def types(of: str = "device") -> Command:
    """List the types that are not abstract and derive from `of`."""
    return Command("qom-list-types", {"implements": of, "abstract": False})
