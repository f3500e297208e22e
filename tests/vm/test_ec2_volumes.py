"""Volumes, snapshots and images of real machines, by EC2's clients."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from tests.vm.houses import Daemon, a_daemon, a_furnished_house, guest
from tests.vm.test_machine_images import rooted  # noqa: F401 - a fixture

from guesthouse.host.images.built import BuiltImage
from guesthouse.host.processes import run
from guesthouse.model.house import House

pytestmark = pytest.mark.vm

_IN = ("--", "sh", "-c")
_MEMORY = ("-m", "128M")


class Ec2:
    """botocore's client of a daemon's door, off the loop."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self.plain = botocore.session.Session().create_client(
            "ec2", region_name="local-1", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
            config=Config(retries={"max_attempts": 1, "mode": "standard"}),
        )  # fmt: skip

    async def __call__(self, operation: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self.plain, operation), **arguments)

    async def until(self, waiter: str, **arguments: Any) -> None:
        soon = {"Delay": 0.2, "MaxAttempts": 300}
        await asyncio.to_thread(self.plain.get_waiter(waiter).wait, WaiterConfig=soon, **arguments)


async def a_client(daemon: Daemon) -> Ec2:
    """Open the door and make a key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    door = await daemon.ask("PUT", "/doors/ec2", {"listen": f"127.0.0.1:{port}"})
    name = (await daemon.ask("POST", "/access-keys", {}))["name"]
    key = await daemon.ask("GET", f"/access-keys/{name}")
    return Ec2(f"http://{door['listen']}", name, key["secret"])


async def instance(client: Ec2, name: str) -> str:
    """The instance of a machine that was launched with the house's own command."""
    for reservation in (await client("describe_instances"))["Reservations"]:
        for each in reservation["Instances"]:
            if each["PrivateDnsName"].startswith(name):
                return str(each["InstanceId"])
    raise AssertionError(name)


async def say(house: House, machine: str, script: str) -> str:
    """What a script says in a guest; `$D` in it is the disk with the serial number of a volume."""
    return (await guest(house, "exec", machine, *_IN, script)).strip()


def find(volume: str) -> str:
    """Words of a shell that set D to the volume's disk, as the guest sees it."""
    serial = volume.removeprefix("vol-")
    return f'D=/dev/$(basename $(dirname $(grep -l "^{serial}" /sys/block/*/serial))); '


async def test_a_volume_goes_through_a_snapshot_to_another_machine(
    rooted: BuiltImage,  # noqa: F811 - the fixture
) -> None:
    async with a_furnished_house(rooted) as house, a_daemon(house) as daemon:
        client = await a_client(daemon)
        await guest(house, "launch", "micro", "-n", "web", *_MEMORY, "--disk", "name=root,size=48M")
        web = await instance(client, "web")
        made = await client("create_volume", Size=1, AvailabilityZone="local-1a")
        volume = made["VolumeId"]
        await client.until("volume_available", VolumeIds=[volume])
        await client("attach_volume", VolumeId=volume, InstanceId=web, Device="/dev/sdf")
        await client.until("volume_in_use", VolumeIds=[volume])
        await until_seen(house, "web", volume)
        await say(house, "web", find(volume) + "echo hello | dd of=$D conv=sync,fsync 2>/dev/null")
        snapshot = (await client("create_snapshot", VolumeId=volume))["SnapshotId"]
        await client.until("snapshot_completed", SnapshotIds=[snapshot])
        await say(house, "web", find(volume) + "echo later | dd of=$D conv=sync,fsync 2>/dev/null")
        await client("modify_volume", VolumeId=volume, Size=2)
        await until_seen(house, "web", volume, sectors=2 * 2**30 // 512)
        copy = (await client("create_volume", SnapshotId=snapshot, AvailabilityZone="local-1a"))["VolumeId"]
        await client.until("volume_available", VolumeIds=[copy])
        await guest(house, "launch", "micro", "-n", "db", *_MEMORY, "--disk", "name=root,size=48M")
        await client("attach_volume", VolumeId=copy, InstanceId=await instance(client, "db"), Device="/dev/sdf")
        await client("delete_snapshot", SnapshotId=snapshot)
        await until_seen(house, "db", copy)
        assert await say(house, "db", find(copy) + "head -c 5 $D") == "hello"
        assert await say(house, "web", find(volume) + "head -c 5 $D") == "later"
        await client("detach_volume", VolumeId=copy)
        await client.until("volume_available", VolumeIds=[copy])
        await client("delete_volume", VolumeId=copy)
        await guest(house, "delete", "web", "--yes")
        left = [each["VolumeId"] for each in (await client("describe_volumes"))["Volumes"] if not each["Attachments"]]
        assert left == [volume], "an attached one outlasts its instance"


async def until_seen(house: House, machine: str, volume: str, sectors: int = 0) -> None:
    """Wait until a guest sees a volume, and in this size if one is named."""
    script = (
        find(volume) + f'[ "$D" != /dev/ ] && [ {sectors} = 0 -o "$(cat /sys/block/$(basename $D)/size)" = {sectors} ]'
    )
    await say(house, machine, f"until ({script}) 2>/dev/null; do sleep 0.1; done")


async def test_an_image_of_a_running_instance_runs_here_and_in_another_project(
    rooted: BuiltImage,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    async with a_furnished_house(rooted) as house, a_daemon(house) as daemon:
        client = await a_client(daemon)
        await guest(house, "launch", "micro", "-n", "web", *_MEMORY, "--disk", "name=root,size=48M")
        await say(house, "web", "echo before | dd of=/dev/vda conv=sync,fsync 2>/dev/null")
        pid = (await daemon.ask("GET", "/machines/web"))["status"]["pid"]
        web = await instance(client, "web")
        running = (await client("create_image", InstanceId=web, Name="As It Runs", NoReboot=True))["ImageId"]
        await client.until("image_available", ImageIds=[running])
        assert (await daemon.ask("GET", "/machines/web"))["status"]["pid"] == pid
        rebooted = (await client("create_image", InstanceId=web, Name="At Rest"))["ImageId"]
        await client.until("image_available", ImageIds=[rebooted])
        machine = await daemon.reach("web", "configured")
        assert machine["status"]["pid"] != pid
        launched = await client("run_instances", ImageId=running, InstanceType="t3.nano", MinCount=1, MaxCount=1)
        child = launched["Instances"][0]["InstanceId"]
        await client.until("instance_running", InstanceIds=[child])
        (name,) = [each["name"] for each in (await daemon.ask("GET", "/machines"))["items"] if each["name"] != "web"]
        await daemon.reach(name, "configured")
        assert await say(house, name, "head -c 6 /dev/vda") == "before"
        await client("deregister_image", ImageId=running)
        await client("terminate_instances", InstanceIds=[child])
        await client.until("instance_terminated", InstanceIds=[child])
        await guest(house, "project", "create", "shop")
        await guest(house, "image", "share", "at-rest", "--with", "shop")
        await guest(house, "--project", "shop", "launch", "at-rest", "-n", "theirs", *_MEMORY)
        assert (await guest(house, "--project", "shop", "exec", "theirs", *_IN, "head -c 6 /dev/vda")) == "before"
        snapshots = (await client("describe_snapshots", OwnerIds=["self"]))["Snapshots"]
        images = {path.name: path for path in house.images.iterdir()}
        (image,) = [each for each in (await daemon.ask("GET", "/images"))["items"] if each["name"] == "at-rest"]
        said = await run(["stat", "-c", "%h", str(images[image["id"]] / "disk.qcow2")])
        assert (len(snapshots), said.strip()) == (2, b"2"), "an image and its snapshot have the same file"
