"""`guest console`: a machine's serial console on this terminal.

Rules
-----
1. On a terminal every key goes to the guest, Ctrl-C too; only Ctrl-] (as with telnet and virsh) leaves. The
   terminal is given back as it was, however this ends.
2. Where standard input is no terminal its bytes are typed, and the console stays open after them.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import tty
from collections.abc import Iterator

from guesthouse.cli.channel import Channel
from guesthouse.cli.context import Context
from guesthouse.cli.door import segment
from guesthouse.cli.rows import Command, Values
from guesthouse.cli.terminal import Terminal

ESCAPE = b"\x1d"
_PIECE_BYTES = 4096


def console(context: Context, row: Command, values: Values) -> int:
    """Open the console until Ctrl-] or until the machine is gone."""
    machine = values["machine"]
    terminal = context.terminal
    with Channel(context.door, f"/machines/{segment(machine)}/console") as channel, _raw(terminal) as line_end:
        # Said when every key is the guest's already: whoever reads it may type.
        if not context.quiet:
            terminal.write_bytes(f"connected to {machine}; Ctrl-] leaves".encode() + line_end, to_stderr=True)
        left = converse(channel, terminal)
    if not context.quiet:
        terminal.note(f"left {machine}" if left else f"{machine} closed its console")
    return 0


def converse(channel: Channel, terminal: Terminal) -> bool:
    """Pass bytes both ways; True when the user left, False when the machine did."""
    keyboard = terminal.stdin.fileno()
    watched: list[Channel | int] = [channel, keyboard]
    while channel.open:
        ready, _, _ = select.select(watched, [], [], 0 if channel.pending else None)
        if channel in ready or channel.pending:
            for data in channel.receive():
                terminal.write_bytes(data)
        if keyboard in ready:
            typed = os.read(keyboard, _PIECE_BYTES)
            if not typed:
                watched.remove(keyboard)
                continue
            before, escape, _ = typed.partition(ESCAPE) if terminal.stdin.isatty() else (typed, b"", b"")
            if before:
                channel.send(before)
            if escape:
                return True
    return False


@contextlib.contextmanager
def _raw(terminal: Terminal) -> Iterator[bytes]:
    """The terminal in raw mode, if it is one; yields what ends a line meanwhile."""
    if not terminal.stdin.isatty():
        yield b"\n"
        return
    number = terminal.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setraw(number)
        yield b"\r\n"
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)
        terminal.note("")
