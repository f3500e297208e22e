"""Real daemons are killed (SIGKILL) before and after every step of every kind of operation, with real machines.

After each death the next daemon finishes the operation. Nothing is left over: no process, file or row; and a bystander
machine has not noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.fileserver import File, Server, serving
from tests.host.nets import left, on_a_host, outside
from tests.imageserver import documents
from tests.vm.deaths import Request, Scene, house_with_bystander, killed_at_every_step, warm_house

from guesthouse.engine.kinds import BY_ITSELF, KINDS
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

SPEC = {"name": "{m}", "memory_mib": 128, "disks": [{"name": "own", "size_mib": 16}]}
LAUNCH: Request = ("POST", "/machines", {"spec": SPEC})
SPOT: Request = ("POST", "/machines", {"spec": {"name": "{m}", "memory_mib": 128, "spot": True}})
STOPPED: Request = ("POST", "/machines/{m}/stop", {"force": True})
DISK: Request = ("POST", "/disks", {"name": "{d}", "size_mib": 16})
ATTACH: Request = ("POST", "/disks/{d}/attach", {"machine": "{m}"})
NO_DISK: Request = ("DELETE", "/disks/{d}", None)
NO_IMAGE: Request = ("DELETE", "/images/{i}", None)
IMPORT: Request = ("POST", "/images/import", {"source": "{file}", "name": "{i}"})
# It finds nothing to boot from, and stays in its firmware.
ON_IMAGE: Request = (
    "POST",
    "/machines",
    {
        "spec": {
            "name": "{m}",
            "image": "{i}",
            "memory_mib": 64,
            "firmware": "bios",
            "disks": [{"name": "own", "size_mib": 16}],
        }
    },
)
PULL: Request = ("POST", "/images/pull", {"reference": "debian:12", "server": "{server}", "name": "{i}"})
SNAPSHOT: Request = ("POST", "/machines/{m}/snapshots", {"name": "one"})
SECOND: Request = ("POST", "/machines/{m}/snapshots", {"name": "two"})
OTHER_TEMPLATE: Request = ("POST", "/templates", {"image": "micro", "name": "{t}", "memory_mib": 128})
NO_TEMPLATE: Request = ("DELETE", "/templates/{t}", None)
NETWORK: Request = ("POST", "/networks", {"name": "{n}", "ipv6": True})
NO_NETWORK: Request = ("DELETE", "/networks/{n}", None)
SCENES: dict[str, Scene] = {
    "machine.launch": Scene((), ("POST", "/machines", {"spec": SPEC, "cold": True})),
    "machine.fork": Scene((), ("POST", "/machines/bystander/forks", {"name": "{m}"}), needs="bystander", runs="{m}"),
    "machine.start": Scene((LAUNCH, STOPPED), ("POST", "/machines/{m}/start", {})),
    "machine.stop": Scene((LAUNCH,), ("POST", "/machines/{m}/stop", {"timeout_s": 30}), booted=True),
    "machine.hibernate": Scene((LAUNCH,), ("POST", "/machines/{m}/stop", {"hibernate": True}), booted=True),
    "machine.restart": Scene((LAUNCH,), ("POST", "/machines/{m}/restart", {"force": True})),
    "machine.interrupt": Scene((SPOT,), ("POST", "/machines/{m}/interrupt", {"notice_s": 3600})),
    "machine.pause": Scene((LAUNCH,), ("POST", "/machines/{m}/pause", {})),
    "machine.resume": Scene((LAUNCH, ("POST", "/machines/{m}/pause", {})), ("POST", "/machines/{m}/resume", {})),
    "machine.rename": Scene(
        (LAUNCH,),
        ("POST", "/machines/{m}/rename", {"name": "{m}-new"}),
        after=(("DELETE", "/machines/{m}-new", None),),
    ),
    "machine.change": Scene((LAUNCH,), ("PATCH", "/machines/{m}", {"memory_mib": 96}), booted=True),
    "machine.delete": Scene((LAUNCH,), ("DELETE", "/machines/{m}", None), after=()),
    "snapshot.revert": Scene((LAUNCH, SNAPSHOT, SECOND), ("POST", "/machines/{m}/snapshots/one/revert", {})),
    "snapshot.delete": Scene((LAUNCH, SNAPSHOT, SECOND), ("DELETE", "/machines/{m}/snapshots/one", None)),
    "disk.attach": Scene((LAUNCH, DISK), ATTACH),
    "disk.detach": Scene(
        (LAUNCH, DISK, ATTACH),
        ("POST", "/disks/{d}/detach", {}),
        booted=True,
        after=(("DELETE", "/machines/{m}", None), NO_DISK),
    ),
    "disk.create": Scene((), DISK, after=(NO_DISK,)),
    "disk.resize": Scene((DISK,), ("POST", "/disks/{d}/resize", {"size_mib": 32}), after=(NO_DISK,)),
    "disk.convert": Scene((DISK,), ("POST", "/disks/{d}/convert", {"format": "raw"}), after=(NO_DISK,)),
    "disk.delete": Scene((DISK,), NO_DISK, after=()),
    "image.build": Scene((), ("POST", "/images/build", {"recipe": "micro", "name": "{i}"}), after=(NO_IMAGE,)),
    "image.pull": Scene((), PULL, after=(NO_IMAGE,)),
    "image.import": Scene((), IMPORT, after=(NO_IMAGE,)),
    "image.create": Scene(
        (IMPORT, ON_IMAGE),
        ("POST", "/images/create", {"machine": "{m}", "name": "{i}-made", "pause": True}),
        after=(("DELETE", "/machines/{m}", None), ("DELETE", "/images/{i}-made", None), NO_IMAGE),
    ),
    "image.copy": Scene(
        (IMPORT,),
        ("POST", "/images/{i}/copy", {"name": "{i}-copy"}),
        after=(("DELETE", "/images/{i}-copy", None), NO_IMAGE),
    ),
    "image.export": Scene((IMPORT,), ("POST", "/images/{i}/export", {"path": "{out}/{i}.qcow2"}), after=(NO_IMAGE,)),
    "image.delete": Scene((IMPORT,), NO_IMAGE, after=()),
    "template.create": Scene((), OTHER_TEMPLATE, after=(NO_TEMPLATE,)),
    "template.delete": Scene((OTHER_TEMPLATE,), NO_TEMPLATE, after=()),
    "network.create": Scene((), NETWORK, after=(NO_NETWORK,)),
    "network.change": Scene((NETWORK,), ("PATCH", "/networks/{n}", {"ipv6": False}), after=(NO_NETWORK,)),
    "network.delete": Scene((NETWORK,), NO_NETWORK, after=()),
}
# A rename touches no host, nor does an interruption that is told: there is no step to die at.
NO_STEPS = {"machine.rename", "machine.interrupt"}
# Nobody asks for a merge; that of a snapshot's deletion is one. Nor for memory to be settled (`test_snapshots`). One
# that is being taken is undone by a death in the middle of it (there, too). What is prepared has to boot
# (`test_preparing`).
ELSEWHERE = {*BY_ITSELF.values(), "snapshot.create", "image.prepare"}


def test_every_kind_has_its_scene() -> None:
    assert set(SCENES) == set(KINDS) - ELSEWHERE


ON_A_HOST_OF_THEIR_OWN = {kind for kind in SCENES if kind.startswith("network.")}


def test_killed_at_every_step_on_a_host_of_its_own(micro_image: BuiltImage, tmp_path: Path) -> None:
    async def look() -> None:
        async with outside(), house_with_bystander(micro_image, networks=True) as (house, bystander):
            try:
                for kind in sorted(ON_A_HOST_OF_THEIR_OWN):
                    tried = await killed_at_every_step(SCENES[kind], house, bystander, names_for(kind), left)
                    assert {step for _, step, _ in tried} >= set(KINDS[kind].steps)
            finally:
                await clean(house)

    on_a_host(tmp_path, look)


@pytest.fixture(scope="module")
def lived_in(micro_image: BuiltImage) -> Iterator[tuple[House, str]]:
    """One house for all scenes that need no host of their own: each leaves it as it was."""
    with warm_house(micro_image) as house:
        yield house


@pytest.mark.parametrize("kind", sorted(set(SCENES) - ON_A_HOST_OF_THEIR_OWN))
async def test_killed_at_every_step(kind: str, lived_in: tuple[House, str], tmp_path: Path) -> None:
    small = tmp_path / "small.qcow2"
    await run(["qemu-img", "create", "-q", "-f", "qcow2", str(small), "4M"])
    (tmp_path / "out").mkdir()
    with serving() as server:
        serve_one_image(server, small.read_bytes())
        names = names_for(kind, file=str(small), out=str(tmp_path / "out"), server=server.url)
        tried = await killed_at_every_step(SCENES[kind], *lived_in, names)
    steps = {step for _, step, _ in tried}
    assert bool(steps) == (kind not in NO_STEPS)
    assert steps >= set(KINDS[kind].steps)


async def test_a_start_from_memory_is_killed_at_every_step(lived_in: tuple[House, str]) -> None:
    """A machine goes on from it, or boots where it had gone on already."""
    hibernated: Request = ("POST", "/machines/{m}/stop", {"hibernate": True})
    scene = Scene((LAUNCH, hibernated), ("POST", "/machines/{m}/start", {}), runs="{m}")
    tried = await killed_at_every_step(scene, *lived_in, names_for("machine.wake"))
    assert {step for _, step, _ in tried} >= {"make-disk", "start", "resume"}


async def test_a_launch_from_a_template_is_killed_at_every_step(lived_in: tuple[House, str]) -> None:
    scene = Scene((), LAUNCH, result={"template": "warm"})
    tried = await killed_at_every_step(scene, *lived_in, names_for("machine.launch-warm"))
    assert {step for _, step, _ in tried} >= {"start", "resume"}


def names_for(kind: str, **others: str) -> Callable[[int], dict[str, str]]:
    """What things are called in the cells of a scene: what one leaves behind is in no other's way."""
    stem = kind.replace(".", "-")

    def names(cell: int) -> dict[str, str]:
        return {**{letter: f"{stem}-{letter}{cell}" for letter in "mditn"}, **others}

    return names


def serve_one_image(server: Server, image: bytes) -> None:
    """An image server that has ``debian:12`` and nothing else."""
    item = {"ftype": "disk-kvm.img", "path": "disk.qcow2", "size": len(image), "sha256": sha256(image).hexdigest()}
    product = {
        "aliases": "debian/bookworm/cloud,debian/12/cloud",
        "arch": "amd64",
        "os": "Debian",
        "release": "bookworm",
        "variant": "cloud",
        "versions": {"20260319_05:24": {"items": {"disk.qcow2": item}}},
    }
    catalogue = {
        "content_id": "images",
        "datatype": "image-downloads",
        "format": "products:1.0",
        "products": {"debian:bookworm:amd64:cloud": product},
    }
    server.files["/disk.qcow2"] = File(image, etag='"1"')
    for name, data in documents(catalogue, "streams/v1/images.json").items():
        server.files[f"/{name}"] = File(data)
