"""Memory and device state on their way out of one QEMU and into another: the messages for it.

Rules
-----
1. Capabilities persist from one migration to the next: each begins by setting all that we know, on or off.
2. With ``x-ignore-shared`` memory that lies in a shared file stays there: only device state is moved, some 400 KiB.
   Who restores has the same file as its memory, and the very same device tree.
3. A migration ends with the event ``MIGRATION`` (capability ``events``), whose status is one of `ENDED`.
4. With ``pause-before-switchover`` it waits, its vCPUs standing still and all but the last of its memory written, until
   it is told to go on: then is the moment to switch disks. A status in `UNDER_WAY` is of one that can be cancelled.
5. A machine whose migration is completed has given its disks away: QEMU 7.2 ends at a write to one. ``cont`` is the
   only way to take them back.

Source: QEMU's qapi/migration.json, docs/devel/migration.rst.
"""

from __future__ import annotations

from guesthouse.qemu.messages import Command

EVENT = "MIGRATION"
ENDED = frozenset({"completed", "failed", "cancelled"})
STATE = Command("query-migrate")
BEGUN, WAITS = "active", "pre-switchover"
UNDER_WAY = frozenset({"setup", BEGUN, WAITS, "device", "cancelling", "wait-unplug"})
CANCEL = Command("migrate_cancel")
GO_ON = Command("migrate-continue", {"state": WAITS})
WAITS_BEFORE_END = "pause-before-switchover"
MEMORY_STAYS = "x-ignore-shared"
_KNOWN = ("events", MEMORY_STAYS, WAITS_BEFORE_END, "background-snapshot", "auto-converge", "postcopy-ram")

_UNBOUNDED = 1 << 40


def capabilities(*wanted: str) -> Command:
    """Switch these capabilities on, beside `events`, and all others off."""
    on = {"events", *wanted}
    return Command(
        "migrate-set-capabilities", {"capabilities": [{"capability": name, "state": name in on} for name in _KNOWN]}
    )


def parameters(downtime_limit_ms: int) -> Command:
    """As fast as the file takes it, and the end as soon as what is left can be written in that time."""
    return Command("migrate-set-parameters", {"max-bandwidth": _UNBOUNDED, "downtime-limit": downtime_limit_ms})


def save(descriptor_name: str) -> Command:
    """Write the state to a descriptor that QEMU was given under that name."""
    return Command("migrate", {"uri": f"fd:{descriptor_name}"})


def restore(descriptor: int) -> Command:
    """Read the state from a descriptor that QEMU inherited; it was started with ``-incoming defer``."""
    return Command("migrate-incoming", {"uri": f"fd:{descriptor}"})
