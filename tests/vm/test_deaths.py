"""Real daemons are killed (SIGKILL) before and after every step of every kind of operation, with real machines.

After each death the next daemon finishes the operation. Nothing is left over: no process, file or row; and a bystander
machine has not noticed.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from tests.fileserver import File, Server, serving
from tests.host.nets import left, on_a_host, outside
from tests.imageserver import documents
from tests.vm.deaths import Request, Scene, filled, house_with_bystander, killed_at_every_step
from tests.vm.houses import a_daemon

from guesthouse.engine.kinds import BY_ITSELF, KINDS
from guesthouse.host.images.built import BuiltImage
from guesthouse.host.networks.local import clean
from guesthouse.host.processes import run

pytestmark = pytest.mark.vm

LAUNCH: Request = (
    "POST",
    "/machines",
    {"spec": {"name": "{m}", "memory_mib": 128, "disks": [{"name": "own", "size_mib": 16}]}},
)
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
TEMPLATE: Request = ("POST", "/templates", {"image": "micro", "name": "{t}", "memory_mib": 128})
NO_TEMPLATE: Request = ("DELETE", "/templates/{t}", None)
NETWORK: Request = ("POST", "/networks", {"name": "{n}", "ipv6": True})
NO_NETWORK: Request = ("DELETE", "/networks/{n}", None)
SCENES: dict[str, Scene] = {
    "machine.launch": Scene((), LAUNCH),
    "machine.fork": Scene((), ("POST", "/machines/bystander/forks", {"name": "{m}"}), needs="bystander", runs="{m}"),
    "machine.start": Scene((LAUNCH, STOPPED), ("POST", "/machines/{m}/start", {})),
    "machine.stop": Scene((LAUNCH,), ("POST", "/machines/{m}/stop", {"timeout_s": 30}), booted=True),
    "machine.restart": Scene((LAUNCH,), ("POST", "/machines/{m}/restart", {"force": True})),
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
    "image.export": Scene((IMPORT,), ("POST", "/images/{i}/export", {"path": "{out}"}), after=(NO_IMAGE,)),
    "image.delete": Scene((IMPORT,), NO_IMAGE, after=()),
    "template.create": Scene((), TEMPLATE, after=(NO_TEMPLATE,)),
    "template.delete": Scene((TEMPLATE,), NO_TEMPLATE, after=()),
    "network.create": Scene((), NETWORK, after=(NO_NETWORK,)),
    "network.change": Scene((NETWORK,), ("PATCH", "/networks/{n}", {"ipv6": False}), after=(NO_NETWORK,)),
    "network.delete": Scene((NETWORK,), NO_NETWORK, after=()),
}
# A rename touches no host: there is no step to die at.
NO_STEPS = {"machine.rename"}
# Nobody asks for a merge; that of a snapshot's deletion is one. Nor for memory to be settled (`test_snapshots`). One
# that is being taken is undone by a death in the middle of it (there, too). What is prepared has to boot
# (`test_preparing`).
ELSEWHERE = {*BY_ITSELF.values(), "snapshot.create", "image.prepare"}


def test_every_kind_has_its_scene() -> None:
    assert set(SCENES) == set(KINDS) - ELSEWHERE


ON_A_HOST_OF_THEIR_OWN = {kind for kind in SCENES if kind.startswith("network.")}


@pytest.mark.parametrize("kind", sorted(ON_A_HOST_OF_THEIR_OWN))
def test_killed_at_every_step_on_a_host_of_its_own(kind: str, micro_image: BuiltImage, tmp_path: Path) -> None:
    async def look() -> None:
        async with outside(), house_with_bystander(micro_image, networks=True) as (house, bystander):
            try:
                tried = await killed_at_every_step(SCENES[kind], house, bystander, lambda cell: {"n": f"n{cell}"}, left)
            finally:
                await clean(house)
        assert {step for _, step, _ in tried} >= set(KINDS[kind].steps)

    on_a_host(tmp_path, look)


@pytest.mark.parametrize("kind", sorted(set(SCENES) - ON_A_HOST_OF_THEIR_OWN))
async def test_killed_at_every_step(kind: str, micro_image: BuiltImage, tmp_path: Path) -> None:
    small = tmp_path / "small.qcow2"
    await run(["qemu-img", "create", "-q", "-f", "qcow2", str(small), "4M"])

    def names(cell: int) -> dict[str, str]:
        thing = {"m": f"m{cell}", "d": f"d{cell}", "i": f"i{cell}", "t": f"t{cell}"}
        return {**thing, "file": str(small), "out": str(tmp_path / f"out{cell}.qcow2"), "server": server.url}

    with serving() as server:
        serve_one_image(server, small.read_bytes())
        async with house_with_bystander(micro_image) as (house, bystander):
            if SCENES[kind].booted:  # machines that have booted are there sooner as forks
                async with a_daemon(house) as daemon:
                    await daemon.do(*filled(TEMPLATE, {"t": "warm"}))
            tried = await killed_at_every_step(SCENES[kind], house, bystander, names)
    steps = {step for _, step, _ in tried}
    assert bool(steps) == (kind not in NO_STEPS)
    assert steps >= set(KINDS[kind].steps)


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
