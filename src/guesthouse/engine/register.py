"""Who a machine is that asks for its metadata, out of the records.

Rules
-----
1. A machine is known by the network on which it asks and by its address there: tenants may have the same addresses.
2. What it is told, and how (`MachineSpec.metadata`), is what its description and its networks say now. Keys of the
   project that were added after its launch are told too; what cloud-init made of the keys of its launch stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from guesthouse.catalog import places as catalog
from guesthouse.engine.wanted import domain_of
from guesthouse.model.machine import Bus, Machine, OnShutdown
from guesthouse.model.metadata import Asked, AskedDisk, AskedGroup, AskedKey, AskedNic
from guesthouse.model.network import Network, Port
from guesthouse.ports import Changes, HouseKeys, Store, Transaction

REGION, ZONE = catalog.REGION, catalog.ZONE
"""Where machines are that are nowhere in particular; no cloud's program takes an empty word."""
_DEVICES = {Bus.VIRTIO: "vd", Bus.SCSI: "sd", Bus.IDE: "sd"}


@dataclass(frozen=True)
class MachineRegister:
    """Implements what the metadata door asks (`doors.metadata.application.Register`)."""

    store: Store
    changes: Changes
    keys: HouseKeys

    async def who(self, network: str, address: str) -> Asked | None:
        """The machine with a NIC on the network (an id) that has this address, as `ipaddress` writes it."""
        column = "address6" if ":" in address else "address"
        async with self.store.read() as tx:
            found = await tx.ports.select(network=network, **{column: address})
            machine = await tx.machines.get(found[0].machine) if found else None
            if machine is None or machine.deleting:
                return None
            own = AskedKey(name="guesthouse", public=await self.keys.public(machine.project))
            return await _asked(tx, machine, own)

    def watch(self, machine: str) -> AsyncIterator[None]:
        """An item at once, then one whenever what `who` says of the machine may be another: a hint to look."""
        return self.changes.watch()


async def _asked(tx: Transaction, machine: Machine, own: AskedKey) -> Asked:
    spec, project = machine.spec, await tx.projects.get(machine.project)
    image = await tx.images.get(machine.image) if machine.image else None
    by_mac = {port.mac: port for port in await tx.ports.select(machine=machine.id)}
    places = [await _place(tx, by_mac[nic.mac]) for nic in spec.nics if nic.mac in by_mac]
    networks = {nic.network: network for nic, network in places}
    keys = await tx.keys.select(project=machine.project, on_request=False)
    return Asked(
        machine=machine.id,
        name=machine.name,
        project=machine.project,
        project_name=project.name if project else "",
        project_number=project.number if project else 0,
        image=machine.image,
        image_name=image.name if image else "",
        type=spec.type,
        spot=spec.spot,
        interrupted_at=machine.interrupted_at,
        stopped=spec.on_interruption is OnShutdown.STOP,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        architecture=image.architecture if image else "x86_64",
        login=(image.user if image else "") or "root",
        domain=next((domain_of(each, project) for each in networks.values() if project and each.domain), ""),
        zone=ZONE,
        region=REGION,
        user_data=spec.user_data_bytes,
        launched_at=machine.created_at,
        nics=tuple(nic for nic, _ in places),
        disks=tuple(_disks(machine)),
        keys=(
            *(AskedKey(name=f"key-{number}", public=public) for number, public in enumerate(spec.ssh_keys, 1)),
            *(AskedKey(name=key.name, public=key.public) for key in keys),
            own,
        ),
        labels=spec.labels,
        options=spec.metadata,
    )


def _disks(machine: Machine) -> list[AskedDisk]:
    counts: dict[str, int] = {}
    found = []
    for disk in machine.spec.disks:
        prefix = _DEVICES[disk.bus]
        letter = chr(ord("a") + counts.get(prefix, 0))
        counts[prefix] = counts.get(prefix, 0) + 1
        found.append(AskedDisk(name=disk.name, device=f"{prefix}{letter}", size_mib=disk.size_mib))
    return found


async def _place(tx: Transaction, port: Port) -> tuple[AskedNic, Network]:
    network, subnet = await tx.networks.get(port.network), await tx.subnets.get(port.subnet)
    assert network is not None  # a network with ports on it cannot go
    elastics = await tx.elastics.select(port=port.id)
    groups = [group for id in port.groups if (group := await tx.groups.get(id)) is not None]
    nic = AskedNic(
        id=port.id,
        number=port.number,
        mac=port.mac,
        network=network.id,
        network_name=network.name,
        subnet=port.subnet,
        cidr=subnet.cidr if subnet else "",
        gateway=subnet.gateway if subnet else "",
        address=port.address,
        cidr6=subnet.cidr6 if subnet else "",
        address6=port.address6,
        public=elastics[0].address if elastics else "",
        mtu=network.mtu,
        groups=tuple(AskedGroup(id=group.id, name=group.name) for group in groups),
    )
    return nic, network
