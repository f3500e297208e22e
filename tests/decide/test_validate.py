"""Bad descriptions are refused by field, value and fix."""

from __future__ import annotations

import base64
import gzip

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.decide.quota import check_quota, used
from guesthouse.decide.validate import MAX_UNPACKED_BYTES, check_public_key, check_spec, check_told, check_user_data
from guesthouse.model.errors import Invalid, QuotaExceeded
from guesthouse.model.machine import Bus, Datasource, DiskSpec, Encoding, Forward, MachineRow, MachineSpec, NicSpec
from guesthouse.model.metadata import Dialect, MetadataOptions
from guesthouse.model.resources import Disk, Project, Quota

GOOD = MachineSpec(name="web", disks=(DiskSpec(size_mib=1024),))


def test_a_good_one_passes() -> None:
    check_spec(GOOD)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "Web"}),
        ("name", {"name": "-web"}),
        ("name", {"name": "w" * 64}),
        ("name", {"name": "0d9a7f1e-7c11-4c43-8b0c-2f1f5a3e9b10"}),
        ("vcpus", {"vcpus": 0}),
        ("vcpus", {"vcpus": 256}),
        ("memory_mib", {"memory_mib": 0}),
        ("memory_mib", {"memory_mib": 1 << 40}),
        ("size_mib", {"disks": (DiskSpec(name="data"),)}),
        ("size_mib", {"disks": (DiskSpec(size_mib=1 << 50),)}),
        ("size_mib", {"disks": (DiskSpec(size_mib=-1),)}),
        ("disks", {"disks": (DiskSpec(size_mib=1), DiskSpec(size_mib=1))}),
        ("disks", {"disks": tuple(DiskSpec(name=f"d{i}", size_mib=1, bus=Bus.IDE) for i in range(6))}),
        ("disks", {"disks": tuple(DiskSpec(name=f"d{i}", size_mib=1) for i in range(25))}),
        ("nics", {"nics": tuple(NicSpec() for _ in range(9))}),
        ("nics", {"nics": (NicSpec(mac="52:54:00:00:00:01"), NicSpec(mac="52:54:00:00:00:01"))}),
        ("mac", {"nics": (NicSpec(mac="53:54:00:00:00:01"),)}),
        ("mac", {"nics": (NicSpec(mac="nonsense"),)}),
        ("guest_port", {"nics": (NicSpec(forwards=(Forward(guest_port=0),)),)}),
        ("host_port", {"nics": (NicSpec(forwards=(Forward(guest_port=1, host_port=70000),)),)}),
        ("protocol", {"nics": (NicSpec(forwards=(Forward(guest_port=1, protocol="icmp"),)),)}),
        ("forwards", {"nics": (NicSpec(forwards=(Forward(guest_port=1), Forward(guest_port=1))),)}),
        ("ssh_keys", {"ssh_keys": ("ssh-ed25519 nonsense",)}),
        ("labels", {"labels": {"": "x"}}),
        ("labels", {"labels": {"a": "x" * 257}}),
        ("user_data", {"user_data": "#cloud-config\na: [1"}),
        ("user_data", {"user_data": "#cloud-config\n- a\n"}),
        ("user_data", {"user_data": "hostname: web\n"}),
        ("user_data", {"user_data": "#!/bin/sh\n" + "x" * 600_000}),
        ("user_data", {"user_data": "#!/bin/sh\n", "user_data_encoding": Encoding.BASE64}),
        ("hop_limit", {"metadata": MetadataOptions(hop_limit=0)}),
        ("hop_limit", {"metadata": MetadataOptions(hop_limit=65)}),
        ("dialects", {"metadata": MetadataOptions(dialects=(Dialect.EC2, Dialect.EC2))}),
        ("datasource", {"datasource": Datasource.METADATA, "nics": ()}),
        ("datasource", {"datasource": Datasource.METADATA, "nics": (NicSpec(), NicSpec(network="back"))}),
    ],
)
def test_refusals(field: str, change: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        check_spec(msgspec.structs.replace(GOOD, **change))
    assert refused.value.field == field
    assert refused.value.hint


@pytest.mark.parametrize("options", [MetadataOptions(enabled=False), MetadataOptions(dialects=(Dialect.GCE,))])
def test_a_service_that_would_refuse_whom_it_is_to_configure(options: MetadataOptions) -> None:
    nics = (NicSpec(network="back"),)
    asks = msgspec.structs.replace(GOOD, nics=nics, datasource=Datasource.METADATA, metadata=options)
    check_spec(asks)
    check_told(msgspec.structs.replace(asks, datasource=Datasource.SEED))
    with pytest.raises(Invalid) as refused:
        check_told(asks)
    assert (refused.value.field, bool(refused.value.hint)) == ("metadata", True)


@pytest.mark.parametrize(
    "text", ["", "#cloud-config\n", "#cloud-config\na: 1\n", "#!/bin/sh\ntrue\n", "Content-Type: multipart/mixed\n"]
)
def test_user_data_that_passes(text: str) -> None:
    check_user_data(text.encode())
    check_user_data(gzip.compress(text.encode()))
    packed = base64.b64encode(gzip.compress(text.encode())).decode()
    check_spec(msgspec.structs.replace(GOOD, user_data=packed, user_data_encoding=Encoding.BASE64))


def test_yaml_errors_name_the_line() -> None:
    with pytest.raises(Invalid, match="line 3, column 4"):
        check_user_data(b"#cloud-config\na: 1\nb: @c\n")
    with pytest.raises(Invalid, match="line 3, column 4"):
        check_user_data(gzip.compress(b"#cloud-config\na: 1\nb: @c\n"))


@pytest.mark.parametrize(
    "given",
    [
        b"\x1f\x8b",
        b"\x1f\x8b" + b"\0" * 30,
        gzip.compress(b"#!/bin/sh\n")[:-4],
        gzip.compress(b"hostname: web\n"),
        gzip.compress(b"#!/bin/sh\n" + b"\0" * MAX_UNPACKED_BYTES),
        b"\xff\xfe\xfd",
    ],
    ids=["short", "damaged", "cut off", "no cloud-config", "large", "no text"],
)
def test_packed_user_data_that_is_refused(given: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        check_user_data(given)
    assert refused.value.field == "user_data"


@given(st.text(max_size=200))
def test_user_data_is_accepted_or_refused_never_more(text: str) -> None:
    try:
        check_user_data(text.encode())
        check_user_data(b"#cloud-config\n" + text.encode())
    except Invalid:
        pass


def public_key(kind: str, inner: str | None = None) -> str:
    name = (inner or kind).encode()
    blob = len(name).to_bytes(4, "big") + name + b"\0\0\0\x20" + bytes(32)
    return f"{kind} {base64.b64encode(blob).decode()} me@here"


def test_public_keys() -> None:
    assert check_public_key(f"  {public_key('ssh-ed25519')}\n", "key").endswith("me@here")
    for bad in (
        public_key("ssh-ed25519", "ssh-rsa"),
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-dss AAAA",
        "",
    ):
        with pytest.raises(Invalid):
            check_public_key(bad, "key")


LIMITS = st.none() | st.integers(0, 20)


@given(
    quota=st.builds(Quota, machines=LIMITS, vcpus=LIMITS, memory_mib=LIMITS, disk_mib=LIMITS, addresses=LIMITS),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2)), max_size=5),
    more=st.dictionaries(
        st.sampled_from(["machines", "vcpus", "memory_mib", "disk_mib", "addresses"]), st.integers(0, 9)
    ),
)
def test_quota_holds_exactly(quota: Quota, sizes: list[tuple[int, int, int]], more: dict[str, int]) -> None:
    machines = [
        MachineRow(id=str(i), project="p", name="m", host="h", vcpus=v, memory_mib=m, nics=n)
        for i, (v, m, n) in enumerate(sizes)
    ]
    disks = [Disk(id="d", project="p", name="d", size_mib=7)]
    taken = used(machines, disks)
    assert taken.disk_mib == 7
    fits = all(
        getattr(quota, name) is None or extra == 0 or getattr(taken, name) + extra <= getattr(quota, name)
        for name, extra in more.items()
    )
    project = Project(id="p", name="default", quota=quota)
    if fits:
        check_quota(project, taken, **more)
    else:
        with pytest.raises(QuotaExceeded):
            check_quota(project, taken, **more)
