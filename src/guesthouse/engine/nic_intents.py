"""What may be asked of the NICs of one machine, whatever the dialect; the rules are those of `engine.intents`.

A NIC (`nic`) is named by its MAC address, or by the network that it alone is on.
"""

from __future__ import annotations

from guesthouse.engine.intents import Intent
from guesthouse.model.machine import Forward, NicModel


class NicAdd(Intent, frozen=True, kw_only=True):
    """Give a machine a NIC more; a running one sees it at once. What is said of it is as in `NicSpec`."""

    machine: str
    model: NicModel = NicModel.VIRTIO
    mac: str = ""
    network: str = ""
    subnet: str = ""
    address: str = ""
    groups: tuple[str, ...] = ()
    forwards: tuple[Forward, ...] = ()
    public: bool = False


class NicChange(Intent, frozen=True, kw_only=True):
    """Have a NIC be in these groups, and in no others."""

    machine: str
    nic: str
    groups: tuple[str, ...]


class NicMove(Intent, frozen=True, kw_only=True):
    """Have a NIC be on another network, or elsewhere on its own, where `network` is not said.

    Subnet and address are chosen where they are not said. `groups` None are the same ones on the same network, on
    another one those that it has by itself.
    """

    machine: str
    nic: str
    network: str = ""
    subnet: str = ""
    address: str = ""
    groups: tuple[str, ...] | None = None


class NicRemove(Intent, frozen=True, kw_only=True):
    machine: str
    nic: str
