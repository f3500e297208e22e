"""Memory and device state on their way out of one QEMU and into another: the messages for it.

Rules
-----
1. Capabilities persist from one migration to the next: each begins by setting all that we know, on or off.
2. With ``x-ignore-shared`` memory that lies in a shared file stays there: only device state is moved, some 400 KiB.
   Who restores has the same file as its memory, and the very same device tree.
3. A migration ends with the event ``MIGRATION`` (capability ``events``), whose status is one of `ENDED`.

Source: QEMU's qapi/migration.json, docs/devel/migration.rst.
"""

from __future__ import annotations

from guesthouse.qemu.messages import Command

EVENT = "MIGRATION"
ENDED = frozenset({"completed", "failed", "cancelled"})
STATE = Command("query-migrate")
MEMORY_STAYS = "x-ignore-shared"
_KNOWN = ("events", MEMORY_STAYS, "pause-before-switchover", "background-snapshot", "auto-converge", "postcopy-ram")


def capabilities(*wanted: str) -> Command:
    """Switch these capabilities on, beside `events`, and all others off."""
    on = {"events", *wanted}
    return Command(
        "migrate-set-capabilities", {"capabilities": [{"capability": name, "state": name in on} for name in _KNOWN]}
    )


def save(descriptor_name: str) -> Command:
    """Write the state to a descriptor that QEMU was given under that name."""
    return Command("migrate", {"uri": f"fd:{descriptor_name}"})


def restore(descriptor: int) -> Command:
    """Read the state from a descriptor that QEMU inherited; it was started with ``-incoming defer``."""
    return Command("migrate-incoming", {"uri": f"fd:{descriptor}"})
