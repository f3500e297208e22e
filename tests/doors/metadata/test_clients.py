"""Programs that guests have, unmodified, at 169.254.169.254 of a network: what they find out is the machine."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.caches import alone
from tests.doors.metadata.asking import Book, serving
from tests.doors.metadata.boxes import (
    BEHIND,
    GUEST,
    GUEST6,
    Guest,
    a_container,
    a_guest,
    listeners,
    on_a_network_of_its_own,
)
from tests.doors.metadata.samples import FRONT, KEY, OTHER_KEY, STRICT, WEB
from tests.patience import PATIENCE_S

from guesthouse.host.images import packages
from guesthouse.model.metadata import Asked
from guesthouse.model.network import METADATA_IPV4, METADATA_IPV6

MACHINE = msgspec.structs.replace(WEB, nics=(FRONT,), options=STRICT)
ID = "i-6f1c2d3e4a5b4c6d8"
GUESTS = Path(__file__).parent / "guests"
HERE = {"PYTHONPATH": ":".join(sys.path)}

Alone = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def on_its_own(tmp_path: Path) -> Alone:
    return lambda work: on_a_network_of_its_own(work, tmp_path)


@asynccontextmanager
async def a_machine(asked: Asked = MACHINE, *addresses: str) -> AsyncIterator[Guest]:
    """A guest on a network that is served, known by these addresses, else by its own."""
    book = Book()
    for address in addresses or (GUEST, GUEST6):
        book.write("front", address, asked)
    async with serving(book) as service, a_guest(FRONT.mac) as guest:
        await service.open("front", listeners())
        yield guest


async def found(guest: Guest, program: str, *words: str, environment: dict[str, str] = HERE) -> Any:
    """What one of `guests` finds out inside the guest."""
    said = await guest.run(sys.executable, str(GUESTS / f"{program}.py"), *words, environment=environment)
    return json.loads(said)


# --- our own and Amazon's -------------------------------------------------------------------------------------


def test_our_micro_image(on_its_own: Alone) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            told = await found(guest, "micro")
            assert told["problems"] == []
            assert told["metadata"]["instance-id"] == ID
            assert told["metadata"]["local-hostname"] == "web.front.guest.internal"
            assert told["metadata"]["local-ipv4"] == GUEST
            assert told["keys"] == [KEY, OTHER_KEY]
            assert told["user_data"].encode() == WEB.user_data

    on_its_own(look)


def test_amazons_sdk(on_its_own: Alone) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            assert await found(guest, "aws") == {"region": "home-1", "credentials": {}, "id": ID}

    on_its_own(look)


def test_over_ipv6(on_its_own: Alone) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            assert await found(guest, "ask", METADATA_IPV6, "0", str(PATIENCE_S)) == [200, ID]

    on_its_own(look)


def test_over_ipv6_where_the_machine_leaves_that_out(on_its_own: Alone) -> None:
    async def look() -> None:
        options = msgspec.structs.replace(STRICT, ipv6=False)
        async with a_machine(msgspec.structs.replace(MACHINE, options=options)) as guest:
            assert (await found(guest, "ask", METADATA_IPV6, "0", str(PATIENCE_S)))[0] == 403
            assert await found(guest, "ask", METADATA_IPV4, "0", str(PATIENCE_S)) == [200, ID]

    on_its_own(look)


# --- who is behind the guest, and who only says so ------------------------------------------------------------


def test_answers_pass_as_few_routers_as_the_machine_says(on_its_own: Alone) -> None:
    async def look(hop_limit: int, expected: list[Any]) -> None:
        options = msgspec.structs.replace(STRICT, hop_limit=hop_limit)
        async with a_machine(msgspec.structs.replace(MACHINE, options=options), GUEST, BEHIND) as guest:
            assert await found(guest, "ask", METADATA_IPV4, "0", str(PATIENCE_S)) == [200, ID]
            async with a_container(guest) as container:
                wait_s = PATIENCE_S if expected[0] else 1.5  # what does not come is not waited for long
                assert await found(container, "ask", METADATA_IPV4, "0", str(wait_s)) == expected

    on_its_own(lambda: look(1, [0, "nothing"]))
    on_its_own(lambda: look(2, [200, ID]))


@pytest.mark.parametrize(("mark", "status"), [(0, 200), (FRONT.number, 200), (FRONT.number + 1, 404)])
def test_the_kernels_word_on_the_port_must_agree(on_its_own: Alone, mark: int, status: int) -> None:
    async def look() -> None:
        await asyncio.to_thread(Path("/proc/sys/net/ipv4/tcp_fwmark_accept").write_text, "1")
        book = Book()
        book.write("front", METADATA_IPV4, MACHINE)
        async with serving(book) as service:
            await service.open("front", listeners())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(GUESTS / "ask.py"),
                METADATA_IPV4,
                str(mark),
                str(PATIENCE_S),
                stdout=asyncio.subprocess.PIPE,
            )
            said, _ = await process.communicate()
            assert json.loads(said)[0] == status

    on_its_own(look)


# --- Debian's cloud-init --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cloud_init(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> dict[str, str]:
    """The environment in which Debian's cloud-init runs, with the modules that it needs; nothing is installed."""

    async def unpack(cache: Path, tree: Path) -> None:
        files = await packages.fetch(
            ["cloud-init"], lambda name: name.startswith("python3-"), cache, cache, lambda *_: None
        )
        await packages.unpack([path for _, path in files.values()], tree, lambda *_: None)

    cache = pytestconfig.cache.mkdir("cloud-init")
    tree = tmp_path_factory.mktemp("cloud-init")
    with alone(cache):
        asyncio.run(unpack(cache, tree))
    return {"PYTHONPATH": str(tree / "usr/lib/python3/dist-packages"), "PYTHONNOUSERSITE": "1"}


async def cloud_init_found(guest: Guest, environment: dict[str, str], which: str, folder: Path, **dmi: str) -> Any:
    """What the data source finds out on a machine whose firmware says this of it."""
    (folder / "dmi").mkdir(parents=True)
    for name, text in dmi.items():
        (folder / "dmi" / name).write_text(f"{text}\n")
    return await found(guest, "cloud_init", which, str(folder), environment=environment)


@pytest.mark.vm
def test_cloud_inits_source_for_ec2(on_its_own: Alone, cloud_init: dict[str, str], tmp_path: Path) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            uuid = "ec2c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e"
            told = await cloud_init_found(
                guest, cloud_init, "ec2", tmp_path / "guest", product_uuid=uuid, product_serial=uuid
            )
            assert told["cloud"] == "aws"
            assert told["version"] == "2021-03-23"
            assert (told["id"], told["hostname"]) == (ID, "web.front.guest.internal")
            assert told["keys"] == [KEY, OTHER_KEY]
            assert told["user_data"].encode() == WEB.user_data
            assert (told["zone"], told["region"]) == ("home-1a", "home-1")
            nic = told["network"]["ethernets"]["eth0"]
            assert nic["match"] == {"macaddress": FRONT.mac}
            assert (nic["dhcp4"], nic["dhcp6"]) == (True, True)

    on_its_own(look)


@pytest.mark.vm
def test_cloud_inits_source_for_compute_engine(on_its_own: Alone, cloud_init: dict[str, str], tmp_path: Path) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            told = await cloud_init_found(
                guest, cloud_init, "gce", tmp_path / "guest", product_name="Google Compute Engine"
            )
            assert (told["id"], told["hostname"]) == ("8006323983116618861", "web")
            assert told["keys"] == [KEY, OTHER_KEY]
            assert told["user_data"].encode() == WEB.user_data
            assert told["zone"] == "home-1a"

    on_its_own(look)


@pytest.mark.vm
def test_what_cloud_inits_source_for_azure_asks_here(
    on_its_own: Alone, cloud_init: dict[str, str], tmp_path: Path
) -> None:
    async def look() -> None:
        async with a_machine() as guest:
            told = await cloud_init_found(guest, cloud_init, "azure", tmp_path / "guest")
            assert told["keys"] == [KEY, OTHER_KEY]
            assert (told["hostname"], told["user"], told["valid"]) == ("web", "debian", True)
            assert base64.b64decode(told["user_data"]) == WEB.user_data
            assert told["network"]["ethernets"]["eth0"]["match"] == {"macaddress": FRONT.mac}

    on_its_own(look)
