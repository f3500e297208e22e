"""`guest ec2`: the door opened, used by a client with what is printed, moved, and shut."""

from __future__ import annotations

import asyncio
import re
import socket
from typing import Any

import botocore.session
from tests.cli.conftest import Guest


def _ask(variables: dict[str, str], service: str, operation: str) -> Any:
    """Ask as a client does that knows nothing but the printed environment."""
    client = botocore.session.Session().create_client(
        service,
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
        verify=variables.get("AWS_CA_BUNDLE"),
    )
    return getattr(client, operation)()


async def test_the_door_is_opened_used_and_shut(guest: Guest) -> None:
    shut = await guest("ec2 show")
    assert (shut.code, "the door ec2 is shut" in shut.err) == (3, True), shut
    said = await guest.ok("ec2 enable --listen 127.0.0.1:0")
    assert re.fullmatch(r"EC2's clients are answered at http://127.0.0.1:\d+\n", said.out)
    printed = (await guest.ok("ec2 credentials")).out
    variables = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    assert variables == (await guest.ok("ec2 credentials --json")).json
    who = await asyncio.to_thread(_ask, variables, "sts", "get_caller_identity")
    assert who["Account"] == "0" * 12
    (key,) = (await guest.ok("ec2 keys --json")).json["items"]
    assert (key["name"], "secret" in key) == (variables["AWS_ACCESS_KEY_ID"], False)
    other = (await guest.ok("ec2 credentials --role viewer --json")).json
    assert other["AWS_ACCESS_KEY_ID"] != key["name"]
    await guest.ok(f"ec2 revoke {key['name']}")
    with_key = (await guest.ok("ec2 credentials --json")).json
    assert with_key["AWS_ACCESS_KEY_ID"] == other["AWS_ACCESS_KEY_ID"]
    await guest.ok("ec2 enable --listen 127.0.0.1:0 --tls")
    over_tls = (await guest.ok("ec2 credentials --json")).json
    assert over_tls["AWS_ENDPOINT_URL"].startswith("https://")
    regions = await asyncio.to_thread(_ask, over_tls, "ec2", "describe_regions")
    assert regions["Regions"][0]["RegionName"] == over_tls["AWS_DEFAULT_REGION"]
    assert "disable" not in (await guest.ok("ec2 disable")).err
    assert (await guest("ec2 show")).code == 3


async def test_an_address_that_cannot_be_had_is_told(guest: Guest) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = await guest(f"ec2 enable --listen 127.0.0.1:{taken.getsockname()[1]}")
    assert "Address already in use" in refused.err
    open_to_all = await guest("ec2 enable --listen 0.0.0.0:0")
    assert "add --tls" in open_to_all.err
    assert "no address" in (await guest("ec2 enable --listen nonsense")).err
    assert (await guest("ec2 show")).code == 3
