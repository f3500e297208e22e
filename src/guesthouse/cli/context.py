"""What a command works with: the terminal, the door, and what the common options said."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from guesthouse.cli import show
from guesthouse.cli.door import Door, Place, remote
from guesthouse.cli.rows import Column
from guesthouse.cli.terminal import Terminal
from guesthouse.model.house import House, locate


class Context:
    """One run of one command. `said` are the common options that were given, by their keys (`table.COMMON`)."""

    def __init__(self, terminal: Terminal, said: Mapping[str, Any]) -> None:
        environment = terminal.environment
        self.terminal = terminal
        self.json = bool(said.get("context.json"))
        self.quiet = bool(said.get("context.quiet"))
        self.no_wait = bool(said.get("context.no_wait"))
        self.project: str = said.get("context.project") or environment.get("GUESTHOUSE_PROJECT", "")
        self._url: str = said.get("context.url") or environment.get("GUESTHOUSE_URL", "")
        self._ca: str = said.get("context.ca") or environment.get("GUESTHOUSE_CA", "")
        self._fingerprint: str = said.get("context.fingerprint") or environment.get("GUESTHOUSE_FINGERPRINT", "")

    @cached_property
    def house(self) -> House:
        """The local house that the environment means."""
        return locate(self.terminal.environment, os.getuid())

    @cached_property
    def door(self) -> Door:
        """The door of the house, local or remote; connects at the first request."""
        if self._url:
            token = self.terminal.environment.get("GUESTHOUSE_TOKEN", "")
            return Door(remote(self._url, token, self._ca, self._fingerprint), self.project)
        return Door(Place(self.house), self.project)

    @property
    def again(self) -> list[str]:
        """The words before a command by which another `guest` means the same house and project."""
        said = {"--project": self.project}
        if self._url:
            said |= {"--url": self._url, "--ca": self._ca, "--fingerprint": self._fingerprint}
        return [word for flag, value in said.items() if value for word in (flag, value)]

    @property
    def now(self) -> show.Now:
        return show.Now(self.terminal.clock())

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        if "door" in self.__dict__:
            self.door.close()

    def give(self, document: object, text: str) -> None:
        """Give a result: the document as JSON, or its text."""
        self.terminal.out(show.as_json(document) if self.json else text)

    def confirm(self, document: object, text: str) -> None:
        """Say that it is done, unless --quiet; as JSON the document is the result and is always given."""
        if self.json or not self.quiet:
            self.give(document, text)

    def give_list(self, columns: tuple[Column, ...], documents: Sequence[Mapping[str, Any]]) -> None:
        """Give a list: a table, JSON, or with --quiet the first column alone."""
        if self.json:
            self.terminal.out(show.as_json({"items": documents}))
        elif self.quiet:
            for document in documents:
                self.terminal.out(show.cell(columns[0], document, self.now))
        else:
            self.terminal.out(show.table(columns, documents, self.now, self.terminal.width))
