"""What a machine's description says of the metadata service, held against the networks that there are."""

from __future__ import annotations

import msgspec

from guesthouse.engine import intents
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.resolve import find_network
from guesthouse.model.errors import Invalid
from guesthouse.model.machine import Datasource, MachineSpec
from guesthouse.model.metadata import MetadataOptions
from guesthouse.model.network import NetworkMode


async def check_service(desk: Desk, spec: MachineSpec) -> None:
    """Raise `Invalid` where the machine is to ask the metadata service, and its first NIC's network has none."""
    if spec.datasource is not Datasource.METADATA:
        return
    network = await find_network(desk.tx.networks, desk.asker.project, spec.nics[0].network)
    if network.mode is NetworkMode.BRIDGE:
        raise Invalid(
            f"the machine is to be configured by the metadata service, and network {network.name}, on which its first"
            " NIC is, has none",
            field="datasource",
            value=spec.datasource.value,
            hint="put its first NIC on a network of another mode, or leave the datasource out: it then has a seed disk",
        )


def changed_options(options: MetadataOptions, change: intents.MetadataChange) -> MetadataOptions:
    """The options with what is said otherwise of them."""
    said = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}
    return msgspec.structs.replace(options, **said)
