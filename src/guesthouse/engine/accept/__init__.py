"""Accepting intents: from what is asked to desired state and an operation, in one transaction.

Rules
-----
1. One row an intent: the role it needs, and the function that accepts it.
2. Nothing is written unless everything is; a refusal leaves no trace. Several intents can be asked as one.
3. The owner of the subject is woken after the commit, never before; so is who waits for what ended by it.
4. A rehearsal finds out all that an asker would be told, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from guesthouse.decide.placement import Verdict
from guesthouse.engine import door_intents, host_intents, intents, network_intents, nic_intents
from guesthouse.engine.accept import (
    addresses,
    dialect,
    disks,
    forks,
    free_ports,
    groups,
    hibernation,
    hosts,
    image_uses,
    images,
    interruptions,
    machine_images,
    machines,
    networks,
    nics,
    operations,
    snapshots,
    subnets,
    templates,
    tenants,
)
from guesthouse.engine.accept.desk import Desk
from guesthouse.engine.accept.pieces import Made, Rehearsed, accept_piece, made_before, remember
from guesthouse.engine.accept.tenants import NewToken, Removed
from guesthouse.engine.door_intents import Piece
from guesthouse.engine.door_intents import Token as Once
from guesthouse.engine.intents import Asker, Intent, Launch
from guesthouse.engine.progress import Board
from guesthouse.model.dialect import AccessKey, DoorRecord
from guesthouse.model.errors import Denied
from guesthouse.model.hosts import HostRecord
from guesthouse.model.network import Elastic, Pool
from guesthouse.model.resources import Image, Key, Operation, Project, Role, Share, Snapshot, Token
from guesthouse.ports import HostFacts, NetworkFacts, Store

__all__ = ["INTENTS", "Accept", "Accepted", "IntentRow", "NewToken", "Removed"]

Accepted = (
    Operation
    | Snapshot
    | Project
    | Token
    | Key
    | NewToken
    | Removed
    | Elastic
    | Pool
    | AccessKey
    | DoorRecord
    | Image
    | Share
    | HostRecord
)


@dataclass(frozen=True)
class IntentRow:
    """Who may ask it, and how it is accepted. `house_only` is for the operator of the whole house.

    `native` intents can be asked at the house's own door, too.
    """

    role: Role
    accept: Callable[[Desk, Any], Awaitable[Accepted]]
    house_only: bool = False
    native: bool = True


INTENTS: dict[type[Intent], IntentRow] = {
    intents.Launch: IntentRow(Role.OPERATOR, machines.launch),
    intents.Fork: IntentRow(Role.OPERATOR, forks.fork),
    intents.Start: IntentRow(Role.OPERATOR, hibernation.start),
    intents.Stop: IntentRow(Role.OPERATOR, hibernation.stop),
    intents.Restart: IntentRow(Role.OPERATOR, machines.restart),
    intents.Interrupt: IntentRow(Role.OPERATOR, interruptions.interrupt),
    intents.EndInterrupted: IntentRow(Role.OPERATOR, interruptions.carry_out, native=False),
    intents.Pause: IntentRow(Role.OPERATOR, machines.pause),
    intents.Resume: IntentRow(Role.OPERATOR, machines.resume),
    intents.Delete: IntentRow(Role.OPERATOR, machines.delete),
    intents.Rename: IntentRow(Role.OPERATOR, machines.rename),
    intents.Change: IntentRow(Role.OPERATOR, machines.change),
    intents.Apply: IntentRow(Role.OPERATOR, machines.apply),
    intents.ForwardAdd: IntentRow(Role.OPERATOR, machines.forward_add),
    intents.ForwardRemove: IntentRow(Role.OPERATOR, machines.forward_remove),
    nic_intents.NicAdd: IntentRow(Role.OPERATOR, nics.add),
    nic_intents.NicChange: IntentRow(Role.OPERATOR, nics.change),
    nic_intents.NicMove: IntentRow(Role.OPERATOR, nics.move),
    nic_intents.NicRemove: IntentRow(Role.OPERATOR, nics.remove),
    intents.SnapshotCreate: IntentRow(Role.OPERATOR, snapshots.create),
    intents.SnapshotRevert: IntentRow(Role.OPERATOR, snapshots.revert),
    intents.SnapshotDelete: IntentRow(Role.OPERATOR, snapshots.delete),
    intents.SnapshotRename: IntentRow(Role.OPERATOR, snapshots.rename),
    intents.DiskCreate: IntentRow(Role.OPERATOR, disks.create),
    intents.DiskAttach: IntentRow(Role.OPERATOR, disks.attach),
    intents.DiskDetach: IntentRow(Role.OPERATOR, disks.detach),
    intents.DiskResize: IntentRow(Role.OPERATOR, disks.resize),
    intents.DiskConvert: IntentRow(Role.OPERATOR, disks.convert),
    intents.DiskDelete: IntentRow(Role.OPERATOR, disks.delete),
    intents.ImageBuild: IntentRow(Role.OPERATOR, images.build, house_only=True),
    intents.ImageImport: IntentRow(Role.OPERATOR, images.import_),
    intents.ImagePull: IntentRow(Role.OPERATOR, images.pull),
    intents.ImageCreate: IntentRow(Role.OPERATOR, machine_images.create),
    intents.ImageCopy: IntentRow(Role.OPERATOR, image_uses.copy),
    intents.ImageChange: IntentRow(Role.OPERATOR, image_uses.change),
    intents.ImageShare: IntentRow(Role.OPERATOR, image_uses.share),
    intents.ImageUnshare: IntentRow(Role.OPERATOR, image_uses.unshare),
    intents.ImagePrepare: IntentRow(Role.OPERATOR, images.prepare),
    intents.ImageExport: IntentRow(Role.OPERATOR, images.export, house_only=True),
    intents.ImageDelete: IntentRow(Role.OPERATOR, images.delete),
    intents.TemplateCreate: IntentRow(Role.OPERATOR, templates.create),
    intents.TemplateDelete: IntentRow(Role.OPERATOR, templates.delete),
    network_intents.NetworkCreate: IntentRow(Role.OPERATOR, networks.create),
    network_intents.NetworkChange: IntentRow(Role.OPERATOR, networks.change),
    network_intents.NetworkDelete: IntentRow(Role.OPERATOR, networks.delete),
    network_intents.SubnetCreate: IntentRow(Role.OPERATOR, subnets.create),
    network_intents.SubnetChange: IntentRow(Role.OPERATOR, subnets.change),
    network_intents.SubnetDelete: IntentRow(Role.OPERATOR, subnets.delete),
    network_intents.GroupCreate: IntentRow(Role.OPERATOR, groups.create),
    network_intents.GroupDelete: IntentRow(Role.OPERATOR, groups.delete),
    network_intents.RuleAdd: IntentRow(Role.OPERATOR, groups.rule_add),
    network_intents.RuleChange: IntentRow(Role.OPERATOR, groups.rule_change, native=False),
    network_intents.RuleRemove: IntentRow(Role.OPERATOR, groups.rule_remove),
    network_intents.PoolAdd: IntentRow(Role.ADMIN, addresses.pool_add, house_only=True),
    network_intents.PoolRemove: IntentRow(Role.ADMIN, addresses.pool_remove, house_only=True),
    network_intents.AddressAllocate: IntentRow(Role.OPERATOR, addresses.allocate),
    network_intents.AddressAttach: IntentRow(Role.OPERATOR, addresses.attach),
    network_intents.AddressLead: IntentRow(Role.OPERATOR, addresses.lead, native=False),
    network_intents.PortCreate: IntentRow(Role.OPERATOR, free_ports.create, native=False),
    network_intents.PortChange: IntentRow(Role.OPERATOR, free_ports.change, native=False),
    network_intents.PortDelete: IntentRow(Role.OPERATOR, free_ports.delete, native=False),
    network_intents.AddressDetach: IntentRow(Role.OPERATOR, addresses.detach),
    network_intents.AddressRelease: IntentRow(Role.OPERATOR, addresses.release),
    host_intents.HostChange: IntentRow(Role.ADMIN, hosts.change, house_only=True),
    intents.OperationCancel: IntentRow(Role.OPERATOR, operations.cancel),
    intents.KeyAdd: IntentRow(Role.OPERATOR, tenants.key_add),
    intents.KeyDelete: IntentRow(Role.OPERATOR, tenants.key_delete),
    door_intents.AccessKeyCreate: IntentRow(Role.ADMIN, dialect.access_key_create),
    door_intents.AccessKeyDelete: IntentRow(Role.ADMIN, dialect.access_key_delete),
    door_intents.Tagged: IntentRow(Role.OPERATOR, dialect.tagged, native=False),
    door_intents.Keep: IntentRow(Role.OPERATOR, dialect.keep, native=False),
    door_intents.Rewrite: IntentRow(Role.OPERATOR, dialect.rewrite, native=False),
    door_intents.Forget: IntentRow(Role.OPERATOR, dialect.forget, native=False),
    intents.TokenCreate: IntentRow(Role.ADMIN, tenants.token_create),
    intents.TokenDelete: IntentRow(Role.ADMIN, tenants.token_delete),
    intents.ProjectCreate: IntentRow(Role.ADMIN, tenants.project_create, house_only=True),
    intents.ProjectChange: IntentRow(Role.ADMIN, tenants.project_change, house_only=True),
    intents.ProjectDelete: IntentRow(Role.ADMIN, tenants.project_delete, house_only=True),
}


def check_role(asker: Asker, role: Role, *, house_only: bool = False) -> None:
    """Raise `Denied` unless the asker's role suffices."""
    ranks = list(Role)
    if ranks.index(asker.role) < ranks.index(role):
        raise Denied(f"this needs the role {role.value}; yours is {asker.role.value}", field="role")
    if house_only and not asker.house:
        raise Denied("only the operator of the house may do this", field="role")


@dataclass(frozen=True)
class Accept:
    """The one way in: `await accept(asker, intent)`."""

    store: Store
    facts: HostFacts
    networks: NetworkFacts
    random: Random
    here: str
    wake: Callable[[str], None]
    board: Board

    async def __call__(self, asker: Asker, intent: Intent) -> Accepted:
        """Check, write, wake. Durable work answers with its `Operation`, the rest with the record."""
        (made,) = await self.together(asker, [Piece(intent=intent)])
        accepted: Accepted = made.accepted
        return accepted

    async def together(
        self, asker: Asker, pieces: Sequence[Piece], *, door: str = "", once: Once | None = None, rehearse: bool = False
    ) -> list[Made]:
        """Accept all of several pieces, or none. What was made with the same `once` before is answered, not made.

        A rehearsal answers with nothing. Raises `Conflict` where `once` was used for something else.
        """
        rows = [INTENTS[type(piece.intent)] for piece in pieces]
        for row in rows:
            check_role(asker, row.role, house_only=row.house_only)
        try:
            async with self.store.write() as tx:
                desk = Desk(tx, asker, self.facts, self.networks, self.random, self.here, self.here)
                if once is not None and (before := await made_before(desk, door, once)):
                    return before
                made = [
                    await accept_piece(desk, door, piece, row.accept) for piece, row in zip(pieces, rows, strict=True)
                ]
                if once is not None:
                    await remember(desk, door, once, made)
                if rehearse:
                    raise Rehearsed
        except Rehearsed:
            return []
        self._tell(desk, made)
        return made

    async def explain(self, asker: Asker, intent: Launch) -> Sequence[Verdict]:
        """What becomes of each host when that is asked for, the one to take first; nothing is written."""
        check_role(asker, Role.OPERATOR, house_only=True)
        async with self.store.read() as tx:
            desk = Desk(tx, asker, self.facts, self.networks, self.random, self.here, self.here)
            return await machines.explain(desk, intent)

    def _tell(self, desk: Desk, made: Sequence[Made]) -> None:
        for id in desk.pushed_aside:
            self.board.forget(id)
        opened = [each.accepted for each in made if isinstance(each.accepted, Operation)]
        # Another host's daemon is told of its work by the commit.
        subjects = [operation.subject for operation in opened if operation.host in ("", self.here)]
        for subject in dict.fromkeys([*subjects, *(desk.beside if opened else ())]):
            self.wake(subject)
        for each in opened:
            self.board.changes.ring(each.subject, each.id, each.kind)
