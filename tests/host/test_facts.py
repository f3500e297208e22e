"""What is said of this box, and the program by which KVM is put to the test."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.host.boxes import a_host
from tests.patience import PATIENCE_S
from tests.ports import a_port

from guesthouse.host import kvm
from guesthouse.host.network_ports import describe_holder, is_free
from guesthouse.model.errors import Failed
from guesthouse.model.machine import Forward

QEMU = "qemu-system-x86_64"


@pytest.mark.vm
async def test_the_test_program_reaches_64_bit_mode_and_leaves() -> None:
    assert await kvm.runs(QEMU, "tcg", timeout_s=PATIENCE_S) == ""


@pytest.mark.vm
async def test_a_program_that_does_not_leave_is_noticed() -> None:
    assert await kvm.runs(QEMU, "tcg", timeout_s=0) == "it executed nothing within 0 s"


@pytest.mark.vm
async def test_an_accelerator_that_is_none_says_so() -> None:
    assert "invalid accelerator" in await kvm.runs(QEMU, "warp")


async def test_the_verdict_is_kept_until_something_changes(tmp_path: Path) -> None:
    first = await kvm.Kvm(QEMU, tmp_path).verdict()
    # With a program that cannot be: the second verdict is not found anew.
    assert await kvm.Kvm("/nonexistent", tmp_path).verdict() == first
    assert first.usable or (first.reason and first.fix)


async def test_the_capacity_makes_sense() -> None:
    async with a_host() as (_, host):
        capacity = await host.facts.capacity()
        assert capacity.cpus >= 1
        assert 0 < capacity.memory_free_mib <= capacity.memory_mib
        assert capacity.disk_free_mib > 0
        assert capacity.accelerator == ("kvm" if (await host.facts.kvm.verdict()).usable else "tcg")


async def test_findings_say_what_mends_them() -> None:
    async with a_host() as (_, host):
        findings = await host.facts.check()
        assert {"accelerator", "QEMU", "qemu-img", "disk space", "memory", "confinement"} <= {f.name for f in findings}
        for finding in findings:
            assert finding.level in ("ok", "warning", "missing")
            assert bool(finding.fix) == (finding.level != "ok"), finding


async def test_a_missing_qemu_is_found_and_named() -> None:
    async with a_host(binary="qemu-system-none") as (_, host):
        found = next(finding for finding in await host.facts.check() if finding.name == "QEMU")
        assert (found.level, found.fix) == ("missing", "apt install qemu-system-x86")
        with pytest.raises(Failed, match="qemu-system-none is not installed"):
            await host.facts.emulator.capabilities()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_ports_are_free_until_they_are_taken(protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    port = a_port(protocol)
    async with a_host() as (_, host):
        assert await host.facts.port_is_free(port, protocol)
        with socket.socket(socket.AF_INET, kind) as holder:
            holder.bind(("127.0.0.1", port))
            if protocol == "tcp":
                holder.listen()
            assert not await host.facts.port_is_free(port, protocol)
            said = describe_holder(Forward(guest_port=1, host_port=port, protocol=protocol))
            assert said.startswith((": by python", ": by pytest"))
        assert await host.facts.port_is_free(port, protocol)


async def test_a_port_that_waits_out_its_last_connection_is_free() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    port = a_port()
    async with await asyncio.start_server(close, "127.0.0.1", port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.read()
        writer.close()
        await writer.wait_closed()
    assert is_free(port, "tcp")
