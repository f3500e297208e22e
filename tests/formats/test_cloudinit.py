"""The NoCloud documents: a golden file, and the promises that matter most."""

from __future__ import annotations

from typing import Any

import yaml
from tests.golden.golden import Golden

from guesthouse.formats.cloudinit import HostKey, seed_files

KEY = HostKey("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "ssh-ed25519 AAAA")


def files(**changes: Any) -> dict[str, bytes]:
    given: dict[str, Any] = {
        "machine_id": "0f7c1a52-3f0e-4b7a-9c55-2f7d3a6f8b11",
        "hostname": "web",
        "user_data": b"#cloud-config\npackages: [nginx]\n",
        "authorized_keys": ("ssh-ed25519 AAAAone me@here", "ssh-ed25519 AAAAtwo\n", "ssh-ed25519 AAAAone me@here"),
        "host_key": KEY,
    }
    return seed_files(**{**given, **changes})


def test_the_documents(golden: Golden) -> None:
    network = {"version": 2, "ethernets": {"nic0": {"match": {"macaddress": "52:54:00:00:00:01"}, "dhcp4": True}}}
    made = files(network=network, macs=("52:54:00:00:00:01",), random_seed=b"random bytes\n")
    golden("cloudinit/seed.txt", "".join(f"--- {name}\n{made[name].decode()}" for name in sorted(made)))


def test_user_data_is_passed_on_as_it_was_given() -> None:
    given = "#!/bin/sh\necho \"ü\" 'x'\t$Y \r\n\r\n".encode()
    assert files(user_data=given)["user-data"] == given


def test_documents_are_yaml_for_any_reader() -> None:
    made = files(hostname="no")
    meta = yaml.safe_load(made["meta-data"])
    assert meta["local-hostname"] == "no"
    assert meta["public-keys"] == ["ssh-ed25519 AAAAone me@here", "ssh-ed25519 AAAAtwo"]
    assert yaml.safe_load(made["vendor-data"])["ssh_keys"]["ed25519_private"] == KEY.private


def test_what_is_not_given_has_no_file() -> None:
    assert sorted(files()) == ["meta-data", "user-data", "vendor-data"]
