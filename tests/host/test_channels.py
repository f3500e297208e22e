"""The channels to a guest, with a hostile or clumsy guest at the other end: real sockets, no QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from guesthouse.host import stages as stages_module
from guesthouse.host.agent import Agent, AgentError, execute
from guesthouse.host.console import Consoles
from guesthouse.host.durable import keep_end
from guesthouse.host.feed import Feed
from guesthouse.host.machines.folder import Folder
from guesthouse.host.seed import keep_host_key, public_of
from guesthouse.host.stages import Stages, read_reports
from guesthouse.model.errors import Conflict
from guesthouse.model.machine import Outcome, Stage
from guesthouse.ports import GuestCommand


@contextlib.asynccontextmanager
async def listening(folder: Folder, name: str, serve: Callable[..., Awaitable[None]]) -> AsyncIterator[None]:
    """The other end of a machine's socket."""
    server = await asyncio.start_unix_server(serve, sock=folder.listen(name))
    async with server:
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# --- the agent -----------------------------------------------------------------------------------------------


def answering(answer: Callable[[dict[str, Any]], bytes | None]) -> Callable[..., Awaitable[None]]:
    """An agent: it keeps to the protocol of synchronising, and gives to every other request `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line.lstrip(b"\xff"))
            if request["execute"] == "guest-sync-delimited":
                writer.write(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")
            elif (said := answer(request)) is not None:
                writer.write(said)
        writer.close()

    return serve


async def test_an_answer_is_returned_and_a_refusal_raised(folder: Folder) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        if request["execute"] == "guest-ping":
            return b'{"return": {}}\n'
        return b'{"error": {"class": "CommandNotFound", "desc": "The command is unknown"}}\n'

    async with listening(folder, "agent", answering(answer)):
        agent = Agent(folder)
        assert await agent.call("guest-ping") == {}
        with pytest.raises(AgentError, match="The command is unknown"):
            await agent.call("guest-dance")
        assert await agent.call("guest-ping") == {}
        agent.close()


async def test_a_late_answer_is_not_taken_for_anothers(folder: Folder) -> None:
    held: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line.lstrip(b"\xff"))
            if request["execute"] == "guest-sync-delimited":
                # The late answer comes just before the sign that all is in step again.
                writer.write(b'{"return": "the slow one"}\n' * len(held))
                writer.write(b"\xff" + json.dumps({"return": request["arguments"]["id"]}).encode() + b"\n")
                held.clear()
            elif request["execute"] == "slow":
                held.append(request)
            else:
                writer.write(b'{"return": "the quick one"}\n')
        writer.close()

    async with listening(folder, "agent", serve):
        agent = Agent(folder)
        with pytest.raises(Conflict, match="no answer to slow within"):
            await agent.call("slow", timeout_s=0.2)
        assert await agent.call("quick") == "the quick one"
        agent.close()


@pytest.mark.parametrize("nonsense", [b"what?\n", b"[]\n", b"\n", b'{"return":\n'])
async def test_nonsense_is_no_answer(folder: Folder, nonsense: bytes) -> None:
    async with listening(folder, "agent", answering(lambda request: nonsense)):
        agent = Agent(folder)
        for _ in range(2):
            with pytest.raises(Conflict, match="guest agent does not answer"):
                await agent.call("guest-ping")
        agent.close()


async def test_an_endless_answer_is_cut(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guesthouse.host.agent._LONGEST_ANSWER_BYTES", 1 << 16)
    async with listening(folder, "agent", answering(lambda request: b"x" * (1 << 20))):
        agent = Agent(folder)
        with pytest.raises(Conflict, match="an answer of more than 65536 bytes"):
            await agent.call("guest-ping")
        agent.close()


async def test_an_agent_that_leaves_is_no_answer(folder: Folder) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(folder, "agent", leave):
        with pytest.raises(Conflict, match="it went away"):
            await Agent(folder).call("guest-ping")


async def test_a_machine_without_a_socket_has_no_agent(folder: Folder) -> None:
    with pytest.raises(Conflict, match="guest agent does not answer"):
        await execute(Agent(folder), GuestCommand(("true",)))


# --- reports -------------------------------------------------------------------------------------------------


async def reported(folder: Folder, *pieces: bytes) -> Stages:
    """The stages after a guest wrote these pieces and QEMU hung up."""

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.close()

    stages = Stages(folder, 1.0, lambda: None)
    async with listening(folder, "report", write):
        await read_reports(folder, stages)
    return stages


async def test_reports_are_taken_up_and_remembered(folder: Folder) -> None:
    told: list[Stage] = []
    stages = Stages(folder, 1.0, lambda: told.append(stages.stage))
    stages.reach(Stage.REACHABLE)
    stages.reach(Stage.REACHABLE)
    stages.reach(Stage.CONFIGURED, Outcome(ok=True))
    assert told == [Stage.REACHABLE, Stage.CONFIGURED]
    again = Stages(folder, 1.0, lambda: None)
    assert (again.stage, again.outcome, again.reports) == (Stage.CONFIGURED, Outcome(ok=True), False)


KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43}" for letter in "ab"]


def configured(host_key: str) -> bytes:
    return json.dumps({"stage": "configured", "ok": True, "host_key": host_key}).encode() + b"\n"


async def test_the_key_that_a_guest_made_is_known_from_its_report(folder: Folder) -> None:
    for key in (*KEYS, f"{KEYS[0]}\n* {KEYS[0]}"):
        await reported(folder, configured(key))
    assert public_of(folder.host_key).read_text() == f"{KEYS[1]}\n"
    # A fork of it is given one by the house.
    given = keep_host_key(folder.host_key)
    assert public_of(folder.host_key).read_text() == f"{given.public}\n"
    assert keep_host_key(folder.host_key) == given


async def test_of_a_key_that_the_house_gave_the_guests_word_does_not_count(folder: Folder) -> None:
    given = keep_host_key(folder.host_key)
    await reported(folder, configured(KEYS[0]))
    assert public_of(folder.host_key).read_text() == f"{given.public}\n"


async def test_another_run_begins_at_the_beginning(folder: Folder) -> None:
    Stages(folder, 1.0, lambda: None).reach(Stage.CONFIGURED, Outcome(ok=True))
    assert Stages(folder, 2.0, lambda: None).stage is Stage.RUNNING


async def test_lines_come_in_any_pieces(folder: Folder) -> None:
    stages = await reported(folder, b'{"stage": "reach', b'able"}', b'\n{"stage": "configured", "ok": true}\n')
    assert (stages.stage, stages.outcome, stages.reports) == (Stage.CONFIGURED, Outcome(ok=True), True)


async def test_a_reboot_forgets_what_was_reported(folder: Folder) -> None:
    stages = await reported(folder, b'{"stage": "reachable"}\n')
    stages.reboot()
    assert (stages.stage, stages.reports) == (Stage.RUNNING, False)


async def test_reachable_after_configured_is_another_boot(folder: Folder) -> None:
    stages = await reported(folder, b'{"stage": "configured", "ok": true}\n{"stage": "reachable"}\n')
    assert (stages.stage, stages.outcome) == (Stage.REACHABLE, None)


async def test_a_line_without_end_costs_nothing_and_is_forgotten(folder: Folder) -> None:
    stages = await reported(folder, b'{"stage": "reachable"}' + b" " * (1 << 20), b"\nnonsense\n")
    assert stages.stage is Stage.RUNNING
    stages = await reported(folder, b"x" * (1 << 20), b'\n{"stage": "reachable"}\n')
    assert stages.stage is Stage.REACHABLE


async def test_a_chatty_guest_is_slowed_down(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages_module, "_REFILL_S", 0.05)
    clock = asyncio.get_running_loop().time
    start = clock()
    await reported(folder, b'{"stage": "reachable"}\n' * (stages_module._AT_ONCE + 10))
    assert clock() - start >= 0.4


# --- the console ---------------------------------------------------------------------------------------------


async def test_a_slow_viewer_loses_the_oldest_and_holds_nobody_up(folder: Folder) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(64):
            writer.write(b"%02d" % number * 32768)
            await writer.drain()
        writer.close()

    async with listening(folder, "console", flood), asyncio.TaskGroup() as tasks:
        consoles = Consoles(tasks)
        async with consoles.open(folder) as slow, consoles.open(folder) as quick:
            seen = b""
            while data := await quick.receive():
                seen += data
            kept = await slow.receive()
            assert seen.endswith(b"63")
            assert kept.endswith(b"63")
            assert len(kept) <= 1 << 20
            assert await slow.receive() == b""


async def test_the_last_viewer_hangs_up_and_the_next_one_calls_again(folder: Folder) -> None:
    calls: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.put_nowait("called")
        writer.write(b"hello")
        await reader.read()
        calls.put_nowait("hung up")
        writer.close()

    async with listening(folder, "console", serve), asyncio.TaskGroup() as tasks:
        consoles = Consoles(tasks)
        for _ in range(2):
            async with consoles.open(folder) as viewer:
                assert await viewer.receive() == b"hello"
            assert [await calls.get(), await calls.get()] == ["called", "hung up"]


# --- logs and news -------------------------------------------------------------------------------------------


def test_a_log_keeps_its_end_while_another_appends(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old" * 100)
        keep_end(log, limit_bytes=1000, kept_bytes=10)
        assert log.stat().st_size == 300
        writer.write(b"new" * 300)
        keep_end(log, limit_bytes=1000, kept_bytes=10)
        writer.write(b"!")
    assert log.read_bytes() == b"wnewnewnew!"


async def test_news_that_is_told_twice_is_heard_once_by_everyone() -> None:
    feed = Feed()
    feed.tell("before anybody listens")
    one, two = feed.follow(), feed.follow()
    for machine in ("web", "db", "web"):
        feed.tell(machine)
    assert [await anext(one), await anext(one)] == ["web", "db"]
    assert [await anext(two), await anext(two)] == ["web", "db"]
    feed.tell("web")
    assert await anext(one) == "web"
