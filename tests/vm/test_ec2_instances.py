"""Instances by the real `aws`, as people type it, on real machines with a network and its metadata service."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.host.nets import on_a_host
from tests.patience import PATIENCE_S
from tests.vm.houses import Daemon, a_daemon, guest
from tests.vm.test_networks import a_house_on_a_host, until_ready

from guesthouse.formats.cloudids import ec2_id
from guesthouse.host.images.built import BuiltImage
from guesthouse.model.house import House

pytestmark = pytest.mark.vm
RUNS = "#cloud-config\nruncmd: [[sh, -c, 'echo ran >>/var/ran']]\n"
TAGS = "ResourceType=instance,Tags=[{Key=Name,Value=my-web-server}]"
TEXT_SCREEN = (720, 400)
MAPPINGS = "DeviceName=/dev/sdf,Ebs={VolumeSize=1}"


@dataclass(frozen=True)
class Aws:
    """The real client, in the environment that `guest ec2 credentials` prints."""

    environment: dict[str, str]
    folder: Path

    async def said(self, line: str, *, code: int = 0) -> str:
        """What it says on either stream; it must end with that code."""
        process = await asyncio.create_subprocess_exec(
            "aws", *shlex.split(line), cwd=self.folder, env={**os.environ, **self.environment},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == code, said.decode()
        return said.decode()

    async def __call__(self, line: str) -> Any:
        """Its answer."""
        said = await self.said(f"ec2 {line} --output json")
        return json.loads(said) if said.strip() else None


async def a_client(house: House, daemon: Daemon, folder: Path) -> Aws:
    await guest(house, "ec2", "enable", "--listen", "127.0.0.1:0")
    printed = json.loads(await guest(house, "ec2", "credentials", "--json"))
    return Aws({**printed, "AWS_PAGER": "", "HOME": str(folder)}, folder)


async def settled(daemon: Daemon) -> None:
    """Nothing is under way any more."""
    for operation in (await daemon.ask("GET", "/operations"))["items"]:
        assert (await daemon.ended(operation["id"]))["state"] == "done"


async def until_gone(daemon: Daemon, machine: str) -> None:
    """The machine is there no more; events tell when to look."""
    seen = 0
    async with asyncio.timeout(PATIENCE_S):
        while machine in {each["id"] for each in (await daemon.ask("GET", "/machines"))["items"]}:
            events = (await daemon.ask("GET", f"/events?after={seen}"))["items"]
            seen = events[-1]["number"] if events else seen
            await asyncio.sleep(0 if events else 0.1)


def test_instances_as_people_type_them(tmp_path: Path, micro_image: BuiltImage) -> None:
    async def look() -> None:
        async with a_house_on_a_host(micro_image) as (house, _), a_daemon(house, networks=True) as daemon:
            await until_ready(daemon)
            await guest(house, "network", "create", "shop", "--mode", "private")
            await guest(house, "subnet", "create", "shop", "10.1.0.0/24")
            (tmp_path / "cloud-init.yaml").write_text(RUNS)
            aws = await a_client(house, daemon, tmp_path)
            id = await _launch(house, daemon, aws)
            machine = next(each for each in (await daemon.ask("GET", "/machines"))["items"])["id"]
            await daemon.reach(machine, "configured")
            await _see_it_run(house, aws, id)
            await _change_its_type(house, daemon, aws, id, machine)
            await _end_it_from_within(house, daemon, aws, id, machine)

    on_a_host(tmp_path, look)


async def _launch(house: House, daemon: Daemon, aws: Aws) -> str:
    """By the guide's command, with a key, a group, a subnet, tags, user-data, a disk more, and protection."""
    network = await daemon.ask("GET", "/networks/shop")
    subnet = ec2_id("subnet", network["subnets"][0]["id"])
    group = ec2_id("sg", (await daemon.ask("GET", "/networks/shop/groups"))["items"][0]["id"])
    image = ec2_id("ami", (await daemon.ask("GET", "/images"))["items"][0]["id"])
    key = await aws.said("ec2 create-key-pair --key-name my-key --query KeyMaterial --output text")
    assert key.startswith("-----BEGIN")
    made = await aws(
        f"run-instances --image-id {image} --instance-type t3.nano --key-name my-key --security-group-ids {group}"
        f" --subnet-id {subnet} --tag-specifications '{TAGS}' --user-data file://cloud-init.yaml"
        f" --block-device-mappings '{MAPPINGS}' --disable-api-termination --metadata-options HttpTokens=optional"
        " --instance-market-options MarketType=spot"
    )
    (instance,) = made["Instances"]
    assert (instance["State"]["Name"], instance["KeyName"], instance["SubnetId"]) == ("pending", "my-key", subnet)
    return str(instance["InstanceId"])


async def _see_it_run(house: House, aws: Aws, id: str) -> None:
    await aws.said(f"ec2 wait instance-running --instance-ids {id}")
    await aws.said(f"ec2 wait instance-status-ok --instance-ids {id}")
    shown = await aws.said(
        "ec2 describe-instances --filters Name=instance-state-name,Values=running Name=tag:Name,Values=my-web-server"
        " --query 'Reservations[].Instances[].[InstanceId, PrivateIpAddress, State.Name]' --output table"
    )
    assert id in shown
    assert "10.1.0." in shown
    boot = await aws.said(f"ec2 get-console-output --instance-id {id} --latest --output text")
    assert "root login on 'ttyS0'" in boot
    inside = await guest(house, "exec", "my-web-server", "--", "sh", "-c", "cat /var/ran; hostname")
    assert inside.split() == ["ran", "my-web-server"]
    told = (
        "cd /tmp; for name in id type; do wget -qO- http://169.254.169.254/latest/meta-data/instance-$name; echo; done"
    )
    assert (await guest(house, "exec", "my-web-server", "--", "sh", "-c", told)).split() == [id, "t3.nano"]
    await guest(house, "interrupt", "my-web-server", "--notice", "30m")
    told = "wget -qO- http://169.254.169.254/latest/meta-data/spot/instance-action"
    assert json.loads(await guest(house, "exec", "my-web-server", "--", "sh", "-c", told))["action"] == "terminate"
    (asked,) = (await aws("describe-spot-instance-requests"))["SpotInstanceRequests"]
    assert (asked["InstanceId"], asked["Status"]["Code"]) == (id, "marked-for-termination")
    refused = await aws.said(f"ec2 terminate-instances --instance-ids {id}", code=255)
    assert "OperationNotPermitted" in refused


async def _change_its_type(house: House, daemon: Daemon, aws: Aws, id: str, machine: str) -> None:
    stopping = await aws(f"stop-instances --instance-ids {id}")
    assert stopping["StoppingInstances"][0]["PreviousState"]["Name"] == "running"
    await settled(daemon)
    await aws.said(f"ec2 wait instance-stopped --instance-ids {id}")
    await aws.said(f"ec2 modify-instance-attribute --instance-id {id} --instance-type Value=t3.micro")
    await guest(house, "set", machine, "--screen")
    await aws(f"start-instances --instance-ids {id}")
    running = await daemon.reach(machine, "configured")
    assert (running["spec"]["type"], running["memory_mib"]) == ("t3.micro", 1024)
    shown = await aws(f"get-console-screenshot --instance-id {id}")
    with Image.open(io.BytesIO(base64.b64decode(shown["ImageData"]))) as seen:
        assert (seen.format, seen.size) == ("JPEG", TEXT_SCREEN)
        assert len(seen.getcolors(1 << 20) or ()) > 1


async def _end_it_from_within(house: House, daemon: Daemon, aws: Aws, id: str, machine: str) -> None:
    """Its guest powers itself off: it is terminated, protected or not, and the disk that it came with stays."""
    await aws.said(
        f"ec2 modify-instance-attribute --instance-id {id} --instance-initiated-shutdown-behavior Value=terminate"
    )
    await daemon.client.post(f"/machines/{machine}/exec", json={"argv": ["poweroff"]})
    await until_gone(daemon, machine)
    ended = await aws(f"describe-instances --instance-ids {id} --query 'Reservations[0].Instances[0]'")
    assert ended["State"]["Name"] == "terminated"
    assert ended["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert [disk["name"] for disk in (await daemon.ask("GET", "/disks"))["items"]] == ["my-web-server-sdf"]
