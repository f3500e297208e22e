"""What goes wrong on a real box, and what the house makes of it: one test an accident, one clear message each."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.host.boxes import qemus
from tests.vm.houses import PATIENCE_S, ROOT, Daemon, a_daemon, a_furnished_house, left_in

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.machines.folder import Folder
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm


def small(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"spec": {"name": name, "memory_mib": 128, **spec}}


@asynccontextmanager
async def open_house(micro_image: BuiltImage) -> AsyncIterator[tuple[House, Daemon]]:
    async with a_furnished_house(micro_image) as house, a_daemon(house) as daemon:
        yield house, daemon


async def becomes(daemon: Daemon, name: str, state: str) -> Any:
    """The machine once it is in that state; events tell when to look."""
    seen = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            document = await daemon.ask("GET", f"/machines/{name}")
            if document["state"] == state:
                return document
            events = (await daemon.ask("GET", f"/events?after={seen}"))["items"]
            seen = events[-1]["number"] if events else seen
            await asyncio.sleep(0 if events else 0.1)


async def test_qemu_is_killed(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        await daemon.do("POST", "/machines", small())
        (pid,) = qemus(house)
        os.kill(pid, signal.SIGKILL)
        document = await becomes(daemon, "web", "crashed")
        error = document["status"]["error"]
        assert "QEMU process ended unexpectedly" in error["message"]
        assert "guest start web" in error["hint"]
        await daemon.do("POST", "/machines/web/start", {})
        assert (await daemon.ask("GET", "/machines/web"))["state"] == "running"


async def test_qemu_is_killed_while_there_is_no_daemon(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await daemon.do("POST", "/machines", small())
            await daemon.do("POST", "/machines", small("other"))
            document = await daemon.ask("GET", "/machines/web")
        os.kill(document["status"]["pid"], signal.SIGKILL)
        async with a_daemon(house) as daemon:
            await becomes(daemon, "web", "crashed")
            assert (await daemon.ask("GET", "/machines/other"))["state"] == "running"


async def test_the_daemon_is_killed_while_a_guest_boots(micro_image: BuiltImage) -> None:
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await daemon.do("POST", "/machines", small(user_data="#cloud-config\nruncmd: [echo done >/dev/ttyS0]"))
            daemon.kill()
            await daemon.died()
        (machine,) = house.machines.iterdir()
        folder = Folder(machine)
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(sock=folder.connect("console"))
            # What came before goes to the log alone.
            if b"done" not in folder.console_log.read_bytes():
                await reader.readuntil(b"done")
            writer.close()
        async with a_daemon(house) as daemon:
            document = await daemon.reach("web", "configured")
            assert document["status"]["outcome"]["ok"], document


async def test_the_guest_powers_itself_off(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        await daemon.do("POST", "/machines", small())
        await daemon.reach("web", "reachable")
        answer = await daemon.client.post("/machines/web/exec", json={"argv": ["poweroff"]})
        # The guest may be gone before it has told how the program ended.
        assert answer.status_code == 200 or "went away" in answer.text, answer.text
        document = await becomes(daemon, "web", "stopped")
        assert document["status"]["error"] is None
        # That the guest has ended is written down first; its QEMU is told to end then.
        while document["observed_generation"] != document["generation"]:
            document = await daemon.ask("GET", "/machines/web")
        assert qemus(house) == []


async def test_a_guest_that_does_not_listen_is_forced(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        # Without a disk it stays in its firmware: no agent, nobody hears the power button.
        await daemon.do("POST", "/machines", small(firmware="bios"))
        await daemon.do("POST", "/machines/web/stop", {"timeout_s": 1})
        assert (await daemon.ask("GET", "/machines/web"))["state"] == "stopped"
        assert qemus(house) == []


async def test_a_change_that_is_cancelled_takes_its_new_disk_along(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        await daemon.do("POST", "/disks", {"name": "data", "size_mib": 16})
        # In its firmware it never lets go of a NIC: the change stands still after its disks are made.
        await daemon.do("POST", "/machines", small(firmware="bios"))
        before = left_in(house)
        disks = [{"name": "data", "disk": "data"}, {"name": "new", "size_mib": 16}]
        document = small(firmware="bios", nics=[], disks=disks)
        operation = await daemon.ask("PUT", "/machines/web", document)
        async with asyncio.timeout(PATIENCE_S):
            while operation["phase"] != "detaching NIC":
                wait = f"/operations/{operation['id']}?wait_s=10&after={operation['stamp']}"
                operation = await daemon.ask("GET", wait)
        assert len(left_in(house)["disks"]) == len(before["disks"]) + 1
        await daemon.ask("POST", f"/operations/{operation['id']}/cancel")
        assert (await daemon.ended(operation["id"]))["state"] == "cancelled"
        assert left_in(house) == before
        (disk,) = (await daemon.ask("GET", "/disks"))["items"]
        assert (disk["name"], disk["machine"]) == ("data", ""), disk
        assert len((await daemon.ask("GET", "/machines/web"))["spec"]["nics"]) == 1


async def test_the_image_vanishes(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        await daemon.do("POST", "/machines", small())
        await daemon.do("POST", "/machines/web/stop", {"force": True})
        (image,) = house.images.iterdir()
        image.rename(house.home / "elsewhere")
        operation = await daemon.ended((await daemon.ask("POST", "/machines/web/start", {}))["id"])
        assert operation["state"] == "failed"
        assert "micro" in operation["error"]["message"], operation["error"]
        assert (await daemon.ask("GET", "/machines/web"))["state"] == "stopped"
        (house.home / "elsewhere").rename(image)
        await daemon.do("POST", "/machines/web/start", {})


async def test_a_disk_that_does_not_fit_is_refused(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        empty = left_in(house)
        async with a_small_file_system(house.disks, 80):
            thick = {"name": "big", "size_mib": 200, "thin": False}
            refused = await daemon.ask("POST", "/machines", small(disks=[thick]), status=507)
            assert "disk space" in refused["error"]["message"]
            again = await daemon.ask("POST", "/disks", {**thick, "name": "data"}, status=507)
            assert again["error"]["hint"]
            disk = {"name": "data", "size_mib": 70, "format": "raw", "thin": True}
            await daemon.do("POST", "/machines", small(disks=[disk]))
            await daemon.do("DELETE", "/machines/web")
        assert left_in(house) == empty


async def test_the_disk_is_full_while_a_guest_writes(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon), a_small_file_system(house.disks, 96):
        await daemon.do("POST", "/machines", small(disks=[{"name": "data", "size_mib": 512}]))
        await daemon.reach("web", "reachable")
        filler = house.disks / "filler"
        await run(["fallocate", "-l", "80M", str(filler)])
        # In the background: nobody answers for a guest that stands still, how long it does so or how soon.
        write = "(dd if=/dev/urandom of=/dev/vda bs=1M count=30; echo $? >/run/written) >/dev/null 2>&1 &"
        asking = asyncio.ensure_future(daemon.client.post("/machines/web/exec", json={"argv": ["sh", "-c", write]}))
        document = await becomes(daemon, "web", "paused")
        assert "could not be written" in document["status"]["error"]["message"]
        assert "guest resume web" in document["status"]["error"]["hint"]
        filler.unlink()
        await daemon.do("POST", "/machines/web/resume", {})
        await asking
        look = "until test -s /run/written; do sleep 0.1; done; exit $(cat /run/written)"
        answer = await daemon.ask("POST", "/machines/web/exec", {"argv": ["sh", "-c", look]})
        assert answer["exit_status"] == 0, answer
        document = await daemon.ask("GET", "/machines/web")
        assert (document["state"], document["status"]["error"]) == ("running", None)


async def test_two_daemons_on_one_house(micro_image: BuiltImage) -> None:
    async with open_house(micro_image) as (house, daemon):
        await daemon.do("POST", "/machines", small())
        second = await asyncio.create_subprocess_exec(
            "guest", "serve", "--no-networks", env={**os.environ, "GUESTHOUSE_HOME": str(house.home)}, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await second.communicate()
        assert second.returncode == 4
        assert f"has a daemon already (process {daemon.process.pid})" in said.decode()
        assert (await daemon.ask("GET", "/machines/web"))["state"] == "running"


async def test_the_house_is_moved_by_copying(micro_image: BuiltImage, tmp_path: Path) -> None:
    """What lies in a house names no absolute place, but for QEMU's own sockets."""
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            await daemon.do("POST", "/machines", small(disks=[{"name": "data", "size_mib": 16}]))
            await daemon.do("POST", "/machines/web/stop", {"force": True})
        async with a_furnished_house(micro_image) as other:
            shutil.rmtree(other.home)
            shutil.copytree(house.home, other.home, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
            other.home.chmod(0o711)
            async with a_daemon(other) as daemon:
                await daemon.do("POST", "/machines/web/start", {})
                assert (await daemon.ask("GET", "/machines/web"))["state"] == "running"


async def test_twenty_machines_are_found_again(micro_image: BuiltImage) -> None:
    """In their firmware, where they stand still, so that many fit on a small box; `bench` tells how long it takes."""
    async with a_furnished_house(micro_image) as house:
        async with a_daemon(house) as daemon:
            for n in range(20):
                await daemon.do("POST", "/machines", small(f"m{n}", memory_mib=64, nics=[], firmware="bios"))
            before = sorted(qemus(house))
            assert len(before) == 20
            daemon.kill()
            await daemon.died()
        async with a_daemon(house) as daemon:
            for n in range(20):
                await daemon.do("POST", f"/machines/m{n}/pause", {})
            machines = (await daemon.ask("GET", "/machines"))["items"]
            assert {machine["state"] for machine in machines} == {"paused"}
        assert sorted(qemus(house)) == before


@asynccontextmanager
async def a_small_file_system(place: Path, size_mib: int) -> AsyncIterator[None]:
    """A file system of its own at `place`, which must be empty; unmounted at the end."""
    await run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=0711", "tmpfs", str(place)])
    try:
        yield
    finally:
        await run(["umount", "--lazy", str(place)])
