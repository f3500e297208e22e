"""`firstboot boot` is run by init; `firstboot status ...` is the command `cloud-init`."""

from __future__ import annotations

import os
import sys

from .guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Boot, or tell the status of the boot."""
    if list(arguments) == ["boot"]:
        return _boot()
    from . import status

    exit_status, said = status.main(Guest(), arguments)
    print(said)  # noqa: T201
    return exit_status


def _boot() -> int:
    from . import boot

    guest = Guest()
    lock = boot.prepare(guest)
    gate = boot.gate_of(guest)
    # init goes on (console, agent, power button) while the machine is being configured.
    if os.fork() == 0:
        os.setsid()
        boot.configure(guest, lock, gate)
    return 0


sys.exit(main(sys.argv[1:]))
