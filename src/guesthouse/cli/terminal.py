"""The terminal as a value: streams, environment, clock, width. Commands write through it and nowhere else.

Rules
-----
1. Results go to standard output; progress, questions, errors and hints to standard error.
2. Text that may come from a guest is made harmless before it reaches a terminal: control characters are
   dropped. Bytes that are passed through on purpose (`exec`, `console`) go through `write_bytes`.
3. Progress is one line, written anew, where standard error is a terminal; elsewhere a line whenever the phase
   changes. It is gone when the result comes.
4. Colour only on a terminal, and never where NO_COLOR is set (no-color.org).
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, TextIO

_BAR_PLACES = 20
_CLEAR_LINE = "\r\x1b[K"
_HARMLESS = {code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"}
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
# An escape sequence that is not whole: its rest comes with the next piece. Longer ones are no sequences.
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}|\][^\x07\x1b]{0,256}\x1b?|[ -/]{0,8})$")
_STYLES = {"error": "\x1b[1;31m", "hint": "\x1b[2m", "bold": "\x1b[1m"}


class Terminal:
    """Standard streams, environment and clock of one run of `guest`."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        stdin: TextIO,
        stdout: TextIO,
        stderr: TextIO,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.environment = environment
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.clock = clock
        self._line_shown = False
        self._phase_shown = ""

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked."""
        return self.stdin.isatty() and self.stderr.isatty()

    @property
    def width(self) -> int:
        """Columns that a table may use: the terminal's; 0 (no limit) where output goes elsewhere."""
        return _columns(self.stdout) if self.stdout.isatty() else 0

    @property
    def byte_input(self) -> BinaryIO:
        return self.stdin.buffer

    def out(self, text: str) -> None:
        """Write lines of a result."""
        self.clear_progress()
        self.stdout.write(plain(text) + "\n")

    def note(self, text: str, style: str = "") -> None:
        """Write a line for people, beside the result."""
        self.clear_progress()
        self.stderr.write(self._styled(plain(text), style) + "\n")
        self.stderr.flush()

    def problem(self, kind: str, text: str) -> None:
        """``error: …`` or ``hint: …``."""
        self.clear_progress()
        self.stderr.write(f"{self._styled(kind + ':', kind)} {plain(text)}\n")
        self.stderr.flush()

    def write_bytes(self, data: bytes, to_stderr: bool = False) -> None:
        """Pass bytes through as they are."""
        stream = self.stderr if to_stderr else self.stdout
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()

    def ask(self, question: str) -> bool:
        """A question with yes or no; anything but yes is no."""
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def progress(self, subject: str, phase: str, percent: float | None, elapsed_s: float) -> None:
        """Show how far long work is."""
        if self.stderr.isatty():
            part = "" if percent is None else f" {bar(percent)}"
            line = plain(f"{subject}: {phase}{part} ({elapsed(elapsed_s)})")
            room = _columns(self.stderr) - 1
            self.stderr.write(_CLEAR_LINE + line[:room])
            self._line_shown = True
        elif (subject + phase) != self._phase_shown:
            self._phase_shown = subject + phase
            self.stderr.write(plain(f"{subject}: {phase}") + "\n")
        self.stderr.flush()

    def clear_progress(self) -> None:
        """Take the progress line away, if one is there."""
        if self._line_shown:
            self.stderr.write(_CLEAR_LINE)
            self.stderr.flush()
            self._line_shown = False

    def close_output(self) -> None:
        """Point standard output at nothing: its reader has gone, or is to know that nothing more comes."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())

    def _styled(self, text: str, style: str) -> str:
        if not style or not self.stderr.isatty() or self.environment.get("NO_COLOR"):
            return text
        return f"{_STYLES[style]}{text}\x1b[0m"


def standard() -> Terminal:
    """The terminal of this process."""
    return Terminal(environment=os.environ, stdin=sys.stdin, stdout=sys.stdout, stderr=sys.stderr)


def _columns(stream: TextIO) -> int:
    """The width of a terminal; 80 where it does not know (a serial line)."""
    return os.get_terminal_size(stream.fileno()).columns or 80


def plain(text: str) -> str:
    """Text that does nothing to a terminal: no escape sequences (ECMA-48), no control characters but line ends."""
    return _SEQUENCES.sub("", text).translate(_HARMLESS)


def plain_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The same for text that comes in pieces, wherever they were cut."""
    held = ""
    for piece in pieces:
        text = held + piece
        cut = match.start() if (match := _UNFINISHED.search(text)) else len(text)
        held = text[cut:]
        yield plain(text[:cut])


def bar(percent: float) -> str:
    """Twenty places and a number: ``[########............]  42%``."""
    done = min(_BAR_PLACES, int(percent * _BAR_PLACES / 100))
    return f"[{'#' * done}{'.' * (_BAR_PLACES - done)}] {percent:3.0f}%"


def elapsed(seconds: float) -> str:
    """``8s``, ``2m05s``, ``1h02m``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
