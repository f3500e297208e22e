"""The documents by which a house configures a guest: cloud-init's data source NoCloud.

Rules
-----
1. User-data goes to the guest byte for byte as it was given.
2. The house's own wishes go into vendor-data, which cloud-init merges under user-data: whoever launches a
   machine can override each of them. They are few: the SSH host key that the house made (so that `guest shell`
   knows whom it talks to, and the guest need not make keys, which takes a minute without KVM).
3. Documents are JSON, which is YAML too: nothing needs quoting rules.
4. The instance-id is the machine's id: cloud-init configures a machine once in its life. A fork of a machine that ran
   keeps that one's, since it is configured already.
5. Two things are for a guest that goes on from a frozen one, and nothing to cloud-init: `nics` in the meta-data, the
   MAC addresses it is to wait for, and `random-seed`, random bytes that no other machine has.

Source: cloud-init 22.4, "NoCloud", "Vendor data", module "SSH" (`ssh_keys`, `ssh_deletekeys`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABEL = "cidata"


@dataclass(frozen=True)
class HostKey:
    """An ed25519 SSH host key: `private` in OpenSSH's PEM form, `public` as one line without comment."""

    private: str
    public: str


def seed_files(
    *,
    machine_id: str,
    hostname: str,
    user_data: bytes,
    authorized_keys: Sequence[str],
    host_key: HostKey,
    macs: Sequence[str] = (),
    random_seed: bytes = b"",
    network: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Name and content of each file of the seed; `network` is a network-config document, version 2."""
    files = {
        "meta-data": _document(meta_data(machine_id, hostname, authorized_keys, macs)),
        "user-data": user_data,
        "vendor-data": b"#cloud-config\n" + _document(vendor_data(host_key)),
    }
    if random_seed:
        files["random-seed"] = random_seed
    if network is not None:
        files["network-config"] = _document(network)
    return files


def meta_data(
    machine_id: str, hostname: str, authorized_keys: Sequence[str], macs: Sequence[str] = ()
) -> dict[str, Any]:
    """What the machine is: its id, its name, the keys of its default user, each once, its NICs."""
    return {
        "instance-id": machine_id,
        "local-hostname": hostname,
        "public-keys": list(dict.fromkeys(key.strip() for key in authorized_keys)),
        "nics": list(macs),
    }


def vendor_data(host_key: HostKey) -> dict[str, Any]:
    """The house's own cloud-config: the host key; keys that the image already has stay."""
    return {
        "ssh_deletekeys": False,
        "ssh_keys": {"ed25519_private": host_key.private, "ed25519_public": host_key.public},
    }


def _document(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"
