"""Waiting: progress, the outcome of cloud-init, time-outs, and what is said when something goes wrong."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import Any

import pytest
from tests import machines
from tests.cli.conftest import MAIN, Guest
from tests.doors.native.conftest import Open
from tests.patience import PATIENCE_S

from guesthouse.decide import plan
from guesthouse.model.machine import Failure, Outcome, Stage

GATE = "waiting at the gate"


def close_gate(house: Open, step: str) -> asyncio.Event:
    """Hold a step back until the event is set."""
    gate = house.host.machines.gates[step] = asyncio.Event()
    return gate


async def at_gate(house: Open) -> dict[str, Any]:
    """The operation that waits at the gate, once one does."""
    async with house.local() as client:
        async with asyncio.timeout(PATIENCE_S):
            while not (items := (await client.get("/operations")).json()["items"]):
                pass
            operation: dict[str, Any] = {"stamp": ""}
            while operation.get("phase") != GATE:
                asked = {"wait_s": 10, "after": operation["stamp"]}
                operation = (await client.get(f"/operations/{items[0]['id']}", params=asked)).json()
        return operation


def guests_end(monkeypatch: pytest.MonkeyPatch, **seen: Any) -> None:
    """What guests look like once they run."""
    monkeypatch.setitem(machines._PERFORM, plan.Resume, machines._process(runstate="running", **seen))


async def test_phases_are_told_one_line_each(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    gate = close_gate(house, "start")
    launch = await guest.telling("launch --name web", GATE)
    gate.set()
    ended = await launch
    assert (ended.code, ended.out) == (0, "web is configured; `guest shell web` enters it\n")
    told = ended.err.splitlines()
    assert f"launch web: {GATE}" in told
    assert len(told) == len(set(told))


async def test_what_should_be_known_of_the_work_is_noted_beside_its_result(house: Open, guest: Guest) -> None:
    house.host.images.note = "the image has no package sources"
    ended = await guest.ok("image build debian")
    assert ended.out == "built image debian\n"
    assert ended.err.splitlines()[-1] == "note: the image has no package sources"
    assert (await guest.ok("image build debian --name second --quiet")).err == ""
    ended = await guest.ok("image build debian --name third --json")
    assert ended.json["result"] == {"note": "the image has no package sources"}
    assert "note" not in ended.err


async def test_quiet_says_the_name_only(guest: Guest) -> None:
    await guest.ok("image build micro --quiet")
    ended = await guest.ok("launch --name web --quiet")
    assert (ended.out, ended.err) == ("web\n", "")
    assert (await guest.ok("pause web -q")).out == ""


async def test_no_wait_tells_the_operation(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    gate = close_gate(house, "start")
    ended = await guest.ok("launch --name web --no-wait")
    operation = await at_gate(house)
    assert ended.out == f"{operation['id']}\n"
    gate.set()
    await guest.ok(f"operation wait {operation['id']}")
    assert (await guest.ok("set web --memory 1G --no-wait --json")).json["kind"] == "machine.change"


async def test_an_operation_is_waited_for(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    gate = close_gate(house, "start")
    number = (await guest.ok("launch --name web --no-wait")).out.strip()
    await at_gate(house)
    late = await guest(f"operation wait {number} --timeout 0")
    assert late.code == 8
    assert "launch web is not done after 0 s; it goes on" in late.err
    gate.set()
    assert (await guest.ok(f"operation wait {number}")).out == "machine.launch web: done\n"


async def test_an_operation_under_way_is_shown_and_cancelled(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    close_gate(house, "start")
    launch = asyncio.create_task(guest("launch --name web"))
    operation = await at_gate(house)
    shown = await guest.ok(f"operation show {operation['id']}")
    assert "phase:   waiting at the gate\npercent: 50%\n" in shown.out
    assert (await guest.ok(f"operation cancel {operation['id']}")).out == "asked machine.launch web to stop\n"
    ended = await launch
    assert ended.code == 4
    assert "error: launch web was cancelled" in ended.err
    assert (await guest.ok("list --quiet")).out == ""


async def test_a_failure_of_cloud_init_names_the_module(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await guest.ok("image build micro")
    outcome = Outcome(ok=False, failures=(Failure("scripts_user", "exit status 3"),), log="one\ntwo \x1b[31mred\n")
    guests_end(monkeypatch, stage=Stage.CONFIGURED, outcome=outcome)
    ended = await guest("launch --name web --quiet")
    assert ended.code == 20
    assert ended.err == (
        "error: web runs, but cloud-init failed: scripts_user: exit status 3\n  one\n  two red\n"
        "hint: `guest shell web` enters it, `guest logs web` shows its console\n"
    )
    told = await guest("wait web --json")
    assert (told.code, json.loads(told.err)["error"]["exit_code"]) == (20, 20)
    assert (await guest("wait web --until running")).code == 0


async def test_what_is_not_reached_in_time_may_still_come(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    await guest.ok("image build micro")
    guests_end(monkeypatch, stage=Stage.REACHABLE)
    assert (await guest.ok("launch --name web --until reachable -q")).out == "web\n"
    ended = await guest("wait web --timeout 1s")
    assert ended.code == 8
    assert "error: web is reachable, not configured, after 1 s\n" in ended.err


async def test_a_machine_that_stands_still_is_not_waited_for(guest: Guest) -> None:
    await guest.ok("image build micro")
    await guest.ok("launch --name web --no-start")
    ended = await guest("wait web")
    assert (ended.code, ended.err) == (
        1,
        "error: web is stopped and was never configured\nhint: `guest logs web` shows what it did\n",
    )


@pytest.mark.parametrize("failure", ["set web --json", "set nobody --memory 1G --json", "launch x y z --json"])
async def test_errors_are_documents_too(guest: Guest, failure: str) -> None:
    ended = await guest(failure)
    error = json.loads(ended.err)["error"]
    assert ended.out == ""
    assert error["exit_code"] == ended.code
    assert error["message"] and error["code"]


async def test_ctrl_c_ends_the_waiting_and_not_the_work(house: Open, guest: Guest) -> None:
    await guest.ok("image build micro")
    gate = close_gate(house, "start")
    process = await asyncio.create_subprocess_exec(
        *MAIN, "launch", "--name", "web", env=guest.process_environment(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while GATE not in (line := (await process.stderr.readline()).decode()):
        assert line
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    operation = await at_gate(house)
    assert process.returncode == 130
    assert err.decode() == (
        f"error: interrupted; launch web goes on\nhint: `guest operation wait {operation['id']}` follows it, "
        f"`guest operation cancel {operation['id']}` ends it\n"
    )
    gate.set()
    await guest.ok(f"operation wait {operation['id']}")
