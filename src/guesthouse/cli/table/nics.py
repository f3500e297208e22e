"""Commands on the network cards of a machine."""

from __future__ import annotations

from guesthouse.cli.rows import Argument, Column, Command, Group, Option, Request
from guesthouse.cli.table.machines import MACHINE
from guesthouse.cli.table.networks import SECTION

_NIC = Argument("nic", "its MAC address, or the network that it alone is on", "NIC", complete="network")
_NETWORK = "network that it is to be on"
_GROUPS = Option("--group", "groups", "a group that it is to be in", "GROUP", repeat=True, complete="group")

_NICS = (
    Command(
        "nic list",
        "list the network cards of a machine",
        SECTION,
        (MACHINE,),
        Request("GET", "/machines/{machine}/nics"),
        columns=(
            Column("MAC", "mac"),
            Column("MODEL", "model"),
            Column("NETWORK", "network"),
            Column("SUBNET", "subnet"),
            Column("ADDRESS", "address"),
            Column("ELASTIC", "elastic"),
            Column("GROUPS", "groups", "list"),
        ),
        aliases=("ls",),
    ),
    Command(
        "nic add",
        "give a machine a network card more",
        SECTION,
        (
            MACHINE,
            Option("--network", "network", f"{_NETWORK}; a user-mode one of its own when not given", "NETWORK",
                   complete="network"),
            Option("--subnet", "subnet", "subnet of that; the first with room when not given", "SUBNET"),
            Option("--address", "address", "address of its own; a free one when not given", "ADDRESS"),
            _GROUPS,
            Option("--public", "public", "lend it an elastic address for as long as it is there", switch=True),
            Option("--model", "model", "what the guest sees (virtio)", choices=("virtio", "e1000")),
            Option("--mac", "mac", "MAC address; made up when not given", "MAC"),
        ),
        Request("POST", "/machines/{machine}/nics"),
        durable=True,
        relists=True,
        run="nic:place",
        about="A running machine sees it at once.",
        examples=("guest nic add web --network back", "guest nic add web --network shop --address 10.1.0.9 --group db"),
    ),
    Command(
        "nic set",
        "have a network card be in other groups",
        SECTION,
        (MACHINE, _NIC, _GROUPS._replace(required=True, help="a group that it is to be in, and no others")),
        Request("PATCH", "/machines/{machine}/nics/{nic}"),
        durable=True,
        done="changed NIC {nic} of {machine}",
        examples=("guest nic set web shop --group web --group db",),
    ),
    Command(
        "nic move",
        "have a network card be on another network, or elsewhere on its own",
        SECTION,
        (
            MACHINE,
            _NIC,
            Option("--network", "network", f"{_NETWORK}; its own when not given", "NETWORK", complete="network"),
            Option("--subnet", "subnet", "subnet that it is to be on; the first with room when not given", "SUBNET"),
            Option("--address", "address", "address that it is to have; a free one when not given", "ADDRESS"),
            _GROUPS,
        ),
        Request("POST", "/machines/{machine}/nics/{nic}/move"),
        durable=True,
        relists=True,
        run="nic:place",
        about="It keeps its MAC address and gets a new address. A running machine sees it unplugged and plugged again; "
        "the old address is free when the guest has let go of it.",
        examples=("guest nic move web back --network shop", "guest nic move web shop --address 10.1.0.20"),
    ),
    Command(
        "nic remove", "take a network card from a machine", SECTION, (MACHINE, _NIC),
        Request("DELETE", "/machines/{machine}/nics/{nic}"), done="removed NIC {nic} of {machine}", durable=True,
        relists=True, examples=("guest nic remove web back",),
    ),
)  # fmt: skip

ROWS = _NICS

GROUPS = (Group("nic", "network cards of machines: add, move, remove", SECTION),)
