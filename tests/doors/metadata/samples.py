"""Machines as the metadata service tells them of themselves."""

from __future__ import annotations

from guesthouse.model.metadata import (
    Asked,
    AskedDisk,
    AskedGroup,
    AskedKey,
    AskedNic,
    Dialect,
    MetadataOptions,
)

SECRET = b"of the house, thirty-two bytes..."
NOW = 1_900_000_000.0
FREE = MetadataOptions(tokens_required=False, labels=True, hop_limit=2)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1m9Jb6Qy3P8F0c2dG5T1u0cWk8yQmC7bE4dYl2xN1v anna@desk"
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBq0mW2mB1r8xq3Z5p7uJ4h9cV6nT0aS2dF8gK3lQ5wE bert@desk"

FRONT = AskedNic(
    id="0d0b1a5e-21f4-4c57-9a3e-7f1f5d6c1a01",
    number=7,
    mac="52:54:00:0a:0b:0c",
    network="5ac2a8de-6f0e-4f5c-8c5b-0c6f0b1f2a10",
    network_name="front",
    subnet="b7f7b7c2-7f43-4a0e-9b2e-3f0b5a6d7c11",
    cidr="10.0.0.0/24",
    gateway="10.0.0.1",
    address="10.0.0.5",
    cidr6="fd12:3456:789a:1::/64",
    address6="fd12:3456:789a:1::5",
    public="203.0.113.9",
    mtu=1450,
    groups=(
        AskedGroup(id="3d0a8b6e-1c8f-4c2f-8a6d-2b9c7e5f4a12", name="web"),
        AskedGroup(id="9e2b7c4d-5a6f-4b1e-9d8c-1a2b3c4d5e13", name="admin"),
    ),
)
BACK = AskedNic(
    id="c1a2b3c4-d5e6-4f70-8a9b-0c1d2e3f4a02",
    number=3,
    mac="52:54:00:0a:0b:0d",
    network="e4f5a6b7-c8d9-4e0f-9a1b-2c3d4e5f6a20",
    network_name="back",
    address="192.168.7.5",
)
WEB = Asked(
    machine="6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e",
    name="web",
    project="a0b1c2d3-e4f5-4a6b-8c7d-9e0f1a2b3c4d",
    project_name="shop",
    project_number=42,
    image="7b8c9d0e-1f2a-4b3c-9d4e-5f6a7b8c9d0e",
    image_name="debian:12",
    operation="1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d",
    type="t3.small",
    spot=True,
    interrupted_at=1_900_000_100.0,
    vcpus=2,
    memory_mib=2048,
    login="debian",
    domain="front.guest.internal",
    zone="home-1a",
    region="home-1",
    user_data=b"#!/bin/sh\necho hello\n",
    launched_at=1_800_000_000.0,
    nics=(FRONT, BACK),
    disks=(
        AskedDisk(name="web", device="vda", size_mib=10240),
        AskedDisk(name="web-data", device="vdb", size_mib=1500),
    ),
    keys=(AskedKey(name="anna", public=KEY), AskedKey(name="bert", public=OTHER_KEY)),
    labels={"tier": "front", "team/owner": "anna"},
    options=FREE,
)
BARE = Asked(
    machine="00112233-4455-4677-8899-aabbccddeeff",
    name="bare",
    project="ffeeddcc-bbaa-4988-8766-554433221100",
    project_name="lab",
    project_number=7,
    nics=(
        AskedNic(
            id="01234567-89ab-4cde-8f01-23456789abcd",
            number=1,
            mac="52:54:00:00:00:01",
            network="89abcdef-0123-4567-89ab-cdef01234567",
            network_name="lab",
            address="10.0.0.5",
        ),
    ),
)
STRICT = MetadataOptions()
EC2_ONLY = MetadataOptions(dialects=(Dialect.EC2,))
