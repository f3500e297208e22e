"""What a machine may learn of itself when it asks: the values of which all dialects make their documents.

Rules
-----
1. Nothing here is another machine's, nor the house's: what is not in `Asked` cannot be told to a guest.
2. The first NIC is the one by which a machine is known: its local and public address are those of that NIC.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Dialect(StrEnum):
    """In whose words a machine asks."""

    EC2 = "ec2"
    GCE = "gce"
    AZURE = "azure"


class MetadataOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What a machine's metadata service does.

    With `tokens_required` EC2's documents want a session (IMDSv2). `hop_limit` is how many routers an answer may pass,
    less one: 1 keeps it from containers and networks behind the machine. `ipv6` says whether it answers over IPv6, too,
    `labels` whether guests may read them.
    """

    enabled: bool = True
    tokens_required: bool = True
    hop_limit: int = 1
    ipv6: bool = True
    labels: bool = False
    dialects: tuple[Dialect, ...] = tuple(Dialect)


class AskedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A security group of a NIC."""

    id: str
    name: str


class AskedKey(msgspec.Struct, frozen=True, kw_only=True):
    """An SSH public key, as a line of authorized_keys."""

    name: str
    public: str


class AskedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk; `device` is the name that its guest is likely to give it, such as ``vda``. The first is the root disk."""

    name: str
    device: str
    size_mib: int


class AskedNic(msgspec.Struct, frozen=True, kw_only=True):
    """A NIC with its place on a network. `id` and `number` are those of its port, `network` and `subnet` are ids.

    `public` is the elastic address that leads to it. Addresses are written as `ipaddress` writes them, and are empty
    where there is none, as is all that a network without subnets has not.
    """

    id: str
    number: int
    mac: str
    network: str
    network_name: str
    subnet: str = ""
    cidr: str = ""
    gateway: str = ""
    address: str = ""
    cidr6: str = ""
    address6: str = ""
    public: str = ""
    mtu: int = 0
    groups: tuple[AskedGroup, ...] = ()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as it is told of itself.

    `machine`, `project`, `image` and `operation` (what launched it) are ids. `type` is a cloud's name of its size,
    empty where it was launched by vCPUs and memory. `login` is the user for whom the keys are, `domain` where its name
    is in DNS. `launched_at` is in seconds since the epoch, as is `interrupted_at`: when it is ended to give its place
    away, 0 where it is not. It is only `stopped` then, or deleted.
    """

    machine: str
    name: str
    project: str
    project_name: str
    project_number: int
    image: str = ""
    image_name: str = ""
    operation: str = ""
    type: str = ""
    spot: bool = False
    interrupted_at: float = 0.0
    stopped: bool = False
    vcpus: int = 1
    memory_mib: int = 512
    architecture: str = "x86_64"
    login: str = ""
    domain: str = ""
    zone: str = ""
    region: str = ""
    user_data: bytes = b""
    launch_index: int = 0
    launched_at: float = 0.0
    nics: tuple[AskedNic, ...] = ()
    disks: tuple[AskedDisk, ...] = ()
    keys: tuple[AskedKey, ...] = ()
    labels: dict[str, str] = {}
    options: MetadataOptions = MetadataOptions()

    @property
    def hostname(self) -> str:
        """The whole name, with its domain where it has one."""
        return f"{self.name}.{self.domain}" if self.domain else self.name

    def nic_at(self, address: str) -> AskedNic | None:
        """The NIC with this IPv4 or IPv6 address."""
        return next((nic for nic in self.nics if address in (nic.address, nic.address6)), None)
