"""What the host sees of a machine, as the columns of its record."""

from __future__ import annotations

from typing import Any, cast

from guesthouse.decide.observed import Observed
from guesthouse.decide.plan import Lapse, waiting_for_restart
from guesthouse.model.errors import Failed, GuesthouseError
from guesthouse.model.machine import Machine, MachineStatus, Power, Stage, State

_STATES = {"paused": State.PAUSED, "prelaunch": State.PAUSED, "io-error": State.PAUSED, "postmigrate": State.PAUSED}


def seen_columns(machine: Machine, observed: Observed, boot_id: str) -> dict[str, Any]:
    """What the host sees, as the columns that it may write."""
    process = observed.process
    if process is None:
        state = State.CRASHED if machine.state is State.CRASHED and machine.status.error else State.STOPPED
        error = machine.status.error if state is State.CRASHED else None
        ended = machine.status.ended
        status = MachineStatus(boot_id=boot_id, ended=ended, error=error, host_key=observed.host_key)
        stage, ssh_port = Stage.NONE, 0
    else:
        state = _STATES.get(process.runstate, State.RUNNING)
        stage, ssh_port = process.stage, process.ssh_port
        status = MachineStatus(
            pid=process.pid,
            accelerator=process.accelerator,
            started_at=process.started_at,
            ssh_port=ssh_port,
            forwards=process.forwards,
            screen=process.screen,
            host_key=observed.host_key,
            outcome=process.outcome,
            pending_restart=waiting_for_restart(machine.spec, process),
            memory_actual_mib=process.memory_actual_mib,
            boot_id=boot_id,
            error=_stuck(machine, process.runstate),
        )
    return cast(
        "dict[str, Any]",
        {
            "state": state,
            "stage": stage,
            "ssh_port": ssh_port,
            "status": status,
            "observed_generation": machine.generation,
        },
    )


def _stuck(machine: Machine, runstate: str) -> dict[str, str] | None:
    if runstate != "io-error":
        return None
    error = Failed(
        f"machine {machine.name} stands still: its disk could not be written",
        subject=f"machine {machine.name}",
        hint=f"make room on the host's disk, then `guest resume {machine.name}`",
    )
    return error.as_dict()


def lapsed_columns(machine: Machine, why: str, boot_id: str) -> tuple[str, dict[str, Any]]:
    """The event and the new desired state when a machine lapsed; after a host restart, autostart starts it."""
    if why == Lapse.STUCK:
        return "machine.stuck", {"power": Power.PAUSED}
    host_restarted = machine.status.boot_id not in ("", boot_id)
    crashed = why == Lapse.CRASHED and not host_restarted
    ended = Lapse.CRASHED if crashed else "host-restarted" if host_restarted else Lapse.POWERED_OFF
    error = _crash(machine).as_dict() if crashed else None
    status = MachineStatus(boot_id=boot_id, ended=ended, error=error, host_key=machine.status.host_key)
    changes = {
        "power": Power.RUNNING if host_restarted and machine.autostart else Power.STOPPED,
        "stop_timeout_s": 0,
        "state": State.CRASHED if crashed else State.STOPPED,
        "stage": Stage.NONE,
        "status": status,
    }
    return f"machine.{ended}", changes


def _crash(machine: Machine) -> GuesthouseError:
    return Failed(
        f"machine {machine.name}: its QEMU process ended unexpectedly",
        subject=f"machine {machine.name}",
        hint=f"`guest logs {machine.name} --qemu` shows its last words; `guest start {machine.name}` starts it again",
    )
