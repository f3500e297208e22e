"""EC2's clients as they are: `aws`, boto3, Ansible and libcloud, with nothing but the environment that a house prints.

A machine runs at once here; what the clients make of real ones is tested with real machines.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from asyncio import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from libcloud.compute.base import NodeImage
from libcloud.compute.drivers.ec2 import EC2NodeDriver
from libcloud.compute.types import NodeState
from tests.doors.ec2.conftest import Client, Cloud

from guesthouse.engine import network_intents
from guesthouse.formats.cloudids import ec2_id

PROGRAMS = Path(sys.executable).parent
USER_DATA = "#cloud-config\nhostname: dev-server\n"

# A life on EC2 as guides tell it, one command after the other; {INSTANCE} is what the first one made.
LIFE = r"""
aws ec2 run-instances \
 --image-id $IMAGE \
 --instance-type t3.micro \
 --key-name my-key \
 --security-group-ids $GROUP \
 --subnet-id $SUBNET \
 --tag-specifications \
 'ResourceType=instance,Tags=[{Key=Name,Value=my-web-server}]' \
 --user-data file://cloud-init.yaml \
 --output json

aws ec2 wait instance-running --instance-ids $INSTANCE

aws ec2 describe-instances \
 --filters "Name=tag:Name,Values=my-web-server" \
 --query 'Reservations[].Instances[].[InstanceId, State.Name, PrivateIpAddress]' \
 --output table

aws ec2 describe-instances \
 --filters "Name=instance-state-name,Values=running" \
 --query 'Reservations[].Instances[].[InstanceId, PublicIpAddress, State.Name]' \
 --output table

aws ec2 create-image \
 --instance-id $INSTANCE \
 --name "web-server-baseline-2026-05-21" \
 --description "Nginx + certbot configured, before deploy" \
 --no-reboot

aws ec2 stop-instances --instance-ids $INSTANCE
aws ec2 wait instance-stopped --instance-ids $INSTANCE
aws ec2 start-instances --instance-ids $INSTANCE
aws ec2 create-image --instance-id $INSTANCE --name "backup-name"
aws ec2 describe-images --owners self
aws ec2 describe-instances
aws ec2 terminate-instances --instance-ids $INSTANCE
aws ec2 wait instance-terminated --instance-ids $INSTANCE
"""
_TABLE = "--output table"


async def run(folder: Path, environment: dict[str, str], *argv: str) -> tuple[int, str, str]:
    """The exit code, output and errors of a program."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    path = f"{PROGRAMS}:{plain['PATH']}"
    process = await subprocess.create_subprocess_exec(
        *argv, env={**plain, **environment, "HOME": str(folder), "PATH": path}, cwd=folder,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def environment(cloud: Cloud, client: Client, image: str) -> dict[str, str]:
    """The variables of the door, and of what a life on EC2 begins with."""
    await client("create_key_pair", KeyName="my-key", KeyType="ed25519")
    network, subnet = await cloud.network()
    group = await cloud.done(network_intents.GroupCreate(network=network, name="web"))
    made = group.context["result"]["group"]
    places = {"IMAGE": image, "SUBNET": ec2_id("subnet", subnet), "GROUP": ec2_id("sg", made)}
    return {**await cloud.environment(), **places}


def commands(text: str) -> list[str]:
    """The commands of a text; a line that ends in a backslash goes on."""
    return [line for line in text.replace("\\\n", "").splitlines() if line]


async def test_the_life_that_guides_tell(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "cloud-init.yaml").write_text(USER_DATA)
    for command in commands(LIFE):
        code, out, err = await run(tmp_path, environment, "sh", "-c", command)
        assert (code, err) == (0, ""), command
        if "run-instances" in command:
            environment["INSTANCE"] = json.loads(out)["Instances"][0]["InstanceId"]
        if _TABLE in command:
            row = f"{environment['INSTANCE']}.*running"
            assert re.search(r"\|\s+DescribeInstances\s+\|", out) and re.search(row, out), out
    _, out, _ = await run(tmp_path, environment, "aws", "ec2", "describe-instances", "--output", "json")
    assert [i["State"]["Name"] for r in json.loads(out)["Reservations"] for i in r["Instances"]] == ["terminated"]


async def test_aws_tells_who_asks_and_what_is_wrong(tmp_path: Path, environment: dict[str, str]) -> None:
    code, out, _ = await run(tmp_path, environment, "aws", "sts", "get-caller-identity", "--output", "json")
    assert (code, json.loads(out)["Account"]) == (0, "0" * 12)
    _, out, err = await run(tmp_path, environment, "aws", "ec2", "start-instances", "--instance-ids", "i-" + "0" * 17)
    assert (out, "(InvalidInstanceID.NotFound) when calling the StartInstances operation" in err) == ("", True)
    environment["AWS_SECRET_ACCESS_KEY"] = "another"
    _, _, err = await run(tmp_path, environment, "aws", "ec2", "describe-instances")
    assert "(AuthFailure)" in err


async def test_boto3(environment: dict[str, str]) -> None:
    assert await asyncio.to_thread(with_boto3, environment) == ["terminated"]


def with_boto3(environment: dict[str, str]) -> list[str]:
    """Resources and waiters; the states of all instances in the end."""
    ec2 = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    ).resource("ec2", endpoint_url=environment["AWS_ENDPOINT_URL"])
    often = {"Delay": 0.05, "MaxAttempts": 200}
    (instance,) = ec2.create_instances(ImageId=environment["IMAGE"], MinCount=1, MaxCount=1, KeyName="my-key")
    instance.wait_until_exists(WaiterConfig=often)
    instance.wait_until_running(WaiterConfig=often)
    instance.create_tags(Tags=[{"Key": "stage", "Value": "test"}])
    instance.reload()
    assert (instance.state["Name"], instance.tags) == ("running", [{"Key": "stage", "Value": "test"}])
    assert instance.key_pair.key_fingerprint == ec2.KeyPair("my-key").key_fingerprint
    assert list(ec2.instances.filter(Filters=[{"Name": "tag:stage", "Values": ["test"]}])) == [instance]
    instance.stop()
    instance.wait_until_stopped(WaiterConfig=often)
    ec2.instances.start()
    instance.wait_until_running(WaiterConfig=often)
    instance.reboot()
    instance.terminate()
    instance.wait_until_terminated(WaiterConfig=often)
    return [each.state["Name"] for each in ec2.instances.all()]


@pytest.mark.parametrize("signature", ["2", "4"])
async def test_libcloud(environment: dict[str, str], signature: str) -> None:
    await asyncio.to_thread(with_libcloud, environment, signature)


def with_libcloud(environment: dict[str, str], signature: str) -> None:
    """A node's life; the driver signs by version 2 unless it is told otherwise."""
    url = urlsplit(environment["AWS_ENDPOINT_URL"])
    driver: Any = EC2NodeDriver(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        secure=False,
        host=url.hostname,
        port=url.port,
        signature_version=signature,
    )
    assert driver.list_nodes() == []
    assert [key.name for key in driver.list_key_pairs()] == ["my-key"]
    (size,) = [size for size in driver.list_sizes() if size.id == "t3.micro"]
    (subnet,) = driver.ex_list_subnets()
    image = NodeImage(environment["IMAGE"], "micro", driver)
    node = driver.create_node(name="web", size=size, image=image, ex_keyname="my-key", ex_subnet=subnet)
    assert (node.name, node.extra["instance_type"], node.extra["key_name"]) == ("web", "t3.micro", "my-key")
    node, addresses = driver.wait_until_running([node], wait_period=0.05, ssh_interface="private_ips")[0]
    (listed,) = driver.list_nodes()
    assert (listed.id, listed.state, listed.private_ips) == (node.id, NodeState.RUNNING, addresses)
    assert (listed.name, listed.extra["key_name"], listed.extra["subnet_id"]) == ("web", "my-key", subnet.id)
    assert [found.id for found in driver.list_nodes(ex_filters={"tag:Name": "w*"})] == [node.id]
    assert driver.stop_node(node)
    assert driver.start_node(node)
    assert driver.reboot_node(node)
    assert driver.ex_create_tags(node, {"stage": "test"})
    assert driver.ex_describe_tags(node) == {"Name": "web", "stage": "test"}
    assert driver.ex_delete_tags(node, {"stage": "test"})
    assert driver.ex_describe_tags(node) == {"Name": "web"}
    assert driver.destroy_node(node)


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    web:
      name: web
      image_id: "{{ lookup('env', 'IMAGE') }}"
      instance_type: t3.micro
      key_name: deploy
      vpc_subnet_id: "{{ lookup('env', 'SUBNET') }}"
      security_groups: ["{{ lookup('env', 'GROUP') }}"]
      tags: {stage: test}
      user_data: "#cloud-config"
      volumes: [{device_name: /dev/sdf, ebs: {volume_size: 1, delete_on_termination: true}}]
      metadata_options: {http_endpoint: enabled, http_tokens: required}
      wait_timeout: 60
  module_defaults:
    amazon.aws.ec2_instance: "{{ web }}"
  tasks:
    - amazon.aws.ec2_key: {name: deploy, key_type: ed25519, tags: {team: web}}
      register: key
    - amazon.aws.ec2_key: {name: deploy, key_type: ed25519, tags: {team: web}}
      register: key_again
    - amazon.aws.ec2_instance: {state: running}
      register: made
    - amazon.aws.ec2_instance: {state: running}
      register: made_again
    - amazon.aws.ec2_instance: {state: stopped}
      register: stopped
    - amazon.aws.ec2_instance: {state: started, tags: {stage: live}, purge_tags: true}
      register: started
    - amazon.aws.ec2_tag: {resource: "{{ made.instance_ids[0] }}", tags: {owner: me}}
    - amazon.aws.ec2_instance_info: {filters: {"tag:Name": web, instance-state-name: running}}
      register: info
    - amazon.aws.ec2_instance: {name: web, state: absent}
      register: gone
    - amazon.aws.ec2_instance: {name: web, state: absent}
      register: gone_again
    - amazon.aws.ec2_key: {name: my-key, state: absent}
    - assert:
        that:
          - key is changed and key_again is not changed
          - made is changed and made_again is not changed
          - made.instances[0].private_ip_address is defined
          - stopped is changed and started is changed
          - info.instances[0].instance_id == made.instance_ids[0]
          - "info.instances[0].tags == {'Name': 'web', 'stage': 'live', 'owner': 'me'}"
          - gone.terminate_success == made.instance_ids
          - gone_again is not changed
"""


async def test_ansible(tmp_path: Path, client: Client, environment: dict[str, str]) -> None:
    environment |= {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    (tmp_path / "play.yml").write_text(PLAY)
    code, out, err = await run(tmp_path, environment, "ansible-playbook", "-i", "localhost,", "play.yml")
    assert code == 0, f"{out}\n{err}"
    pairs = await client("describe_key_pairs")
    assert [(pair["KeyName"], pair["Tags"]) for pair in pairs["KeyPairs"]] == [
        ("deploy", [{"Key": "team", "Value": "web"}])
    ]
    assert (await client("describe_volumes"))["Volumes"] == []
