"""`guest version`."""

from __future__ import annotations

from typing import Any

from guesthouse import __version__
from guesthouse.cli.context import Context
from guesthouse.cli.exits import NoDaemon
from guesthouse.cli.rows import Command, Values


def version(context: Context, row: Command, values: Values) -> int:
    """Tell the versions of this command and of the daemon, if one answers."""
    daemon: dict[str, Any] | None
    try:
        daemon = context.door.ask("GET", "/house")
    except NoDaemon:
        daemon = None
    told = f"daemon {daemon['version']} (API {daemon['api']})" if daemon else "daemon: none answers"
    context.give({"guest": __version__, "daemon": daemon}, f"guest {__version__}\n{told}")
    return 0
