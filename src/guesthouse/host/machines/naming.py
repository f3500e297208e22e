"""Making somebody of its own of a guest that went on from another machine.

Rules
-----
1. No NIC has a link before its guest has another name, and no driver then: nobody outside sees two of the same.
2. A program of the image does it (`PROGRAM`), told over the guest's agent; doing it again has the same result.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os

import msgspec

from guesthouse.decide.forks import lineage
from guesthouse.decide.observed import Desired
from guesthouse.formats.cloudids import ec2_id
from guesthouse.host.agent import AgentError, execute
from guesthouse.host.machines.run import Run
from guesthouse.host.probe import until_it_answers
from guesthouse.host.seed import keep_host_key
from guesthouse.model.errors import Conflict, Failed
from guesthouse.model.machine import Datasource, Machine, Outcome, Stage
from guesthouse.ports import GuestCommand
from guesthouse.qemu.hotplug import set_link

PROGRAM = "/usr/lib/guesthouse/become"
_ANSWER_TIMEOUT_S = 60.0
_TIMEOUT_S = 5 * 60.0
_RANDOM_BYTES = 64


async def give_identity(run: Run, desired: Desired, outcome: Outcome | None) -> None:
    """Tell the guest who it is, and let it on its networks; `outcome` is how it was configured.

    Raises `Conflict` where its image has no program for that, `Failed` when it did not work in the guest.
    """
    await _until_it_answers(run, desired.machine)
    await _become(run, desired.machine, "name", _told(run, desired))
    for nic in run.record.placed.nics:
        await run.monitor.execute(set_link(nic, up=True))
    await _become(run, desired.machine, "network")
    run.remember(msgspec.structs.replace(run.record, nameless=False))
    run.stages.reach(Stage.CONFIGURED, outcome)


async def _until_it_answers(run: Run, machine: Machine) -> None:
    """The agent opens its channel anew when it sees that the host's end was another's."""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await until_it_answers(run.agent, run.agent_listens)
    except TimeoutError as error:
        raise Conflict(
            f"machine {machine.name} cannot be told that it is another one: its agent does not answer",
            subject=f"machine {machine.name}",
            hint="see that qemu-guest-agent runs in the machine it was forked from; or fork that stopped",
        ) from error


async def _become(run: Run, machine: Machine, part: str, told: bytes = b"") -> None:
    command = GuestCommand((PROGRAM, part), stdin=told, timeout_s=_TIMEOUT_S)
    try:
        result = await execute(run.agent, command)
    except AgentError as error:
        raise Conflict(
            f"machine {machine.name} cannot be told that it is another one: {error}",
            subject=f"machine {machine.name}",
            hint=f"its image has no {PROGRAM}: `guest image build` makes images that have; or fork the machine stopped",
        ) from error
    if result.exit_status:
        said = result.stderr.decode(errors="replace").strip()
        raise Failed(
            f"machine {machine.name} could not become another one: {said or f'exit status {result.exit_status}'}",
            subject=f"machine {machine.name}",
        )


def _told(run: Run, desired: Desired) -> bytes:
    machine, key = desired.machine, keep_host_key(run.folder.host_key)
    asks = machine.spec.datasource is Datasource.METADATA
    return json.dumps(
        {
            "id": machine.id,
            # What cloud-init will be told at its next boot; with a seed it is what it was.
            **({"instance_id": ec2_id("i", machine.id)} if asks else {}),
            "hostname": machine.name,
            "host_key": {"private": key.private, "public": key.public},
            # As the kernel writes them, however they were asked for.
            "macs": {old.lower(): new.lower() for old, new in lineage(desired).macs.items()},
            "random": base64.b64encode(os.urandom(_RANDOM_BYTES)).decode(),
        }
    ).encode()
