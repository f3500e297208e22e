"""What people write, and what is made of it."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Guest

from guesthouse.cli import written
from guesthouse.cli.commands.copy import Side, side
from guesthouse.cli.commands.follow import last_lines, overlap
from guesthouse.cli.commands.image import name_of
from guesthouse.cli.commands.launch import request
from guesthouse.cli.commands.shell import rest
from guesthouse.cli.context import Context
from guesthouse.model.errors import Invalid


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (written.size, "1.5G", 1536),
        (written.whole, "4", 4),
        (written.limit, "unlimited", None),
        (written.limit, "3", 3),
        (written.size_limit, "4G", 4096),
        (written.size_limit, "unlimited", None),
        (written.truth, "YES", True),
        (written.truth, "off", False),
        (written.seconds, "90", 90),
        (written.seconds, "5m", 300),
        (written.seconds, "1H", 3600),
        (written.forward, "8080:80", {"host_port": 8080, "guest_port": 80}),
        (written.forward, "80", {"guest_port": 80}),
        (written.forward, "53:5353/udp", {"host_port": 53, "guest_port": 5353, "protocol": "udp"}),
        (written.metadata, "tokens=optional,hop-limit=2", {"tokens_required": False, "hop_limit": 2}),
        (
            written.metadata,
            "tokens=required,ipv6=no,labels=yes",
            {"tokens_required": True, "ipv6": False, "labels": True},
        ),
        (written.metadata, "enabled=no,dialects=ec2+gce", {"enabled": False, "dialects": ["ec2", "gce"]}),
        (written.passing, "any", {"protocol": "any", "first_port": 0, "last_port": 0}),
        (written.passing, "tcp", {"protocol": "tcp", "first_port": 0, "last_port": 0}),
        (written.passing, "tcp:80", {"protocol": "tcp", "first_port": 80, "last_port": 80}),
        (written.passing, "udp:8000-8100", {"protocol": "udp", "first_port": 8000, "last_port": 8100}),
        (written.passing, "icmp", {"protocol": "icmp", "first_port": -1, "last_port": -1}),
        (written.passing, "icmp6:128", {"protocol": "icmp6", "first_port": 128, "last_port": -1}),
        (written.passing, "icmp:3/4", {"protocol": "icmp", "first_port": 3, "last_port": 4}),
        (written.label, "a=b=c", ("a", "b=c")),
        (written.label, "a=", ("a", "")),
        (written.disk, "10G", {"size_mib": 10240}),
        (
            written.disk,
            "name=data,size=1G,format=raw,thin=no,bus=scsi,cache=none,disk=old",
            {
                "name": "data",
                "size_mib": 1024,
                "format": "raw",
                "thin": False,
                "bus": "scsi",
                "cache": "none",
                "disk": "old",
            },
        ),
        (written.nic, "e1000", {"model": "e1000"}),
        (written.nic, "mac=52:54:00:00:00:02", {"mac": "52:54:00:00:00:02"}),
        (written.host_path, "/a/b", "/a/b"),
        (written.host_path_or_url, "https://a/b", "https://a/b"),
    ],
)
def test_a_value_is_read(read: Callable[[str], object], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (written.size, "1GB"),
        (written.size, ""),
        (written.whole, "-1"),
        (written.whole, "٣"),
        (written.truth, "maybe"),
        (written.seconds, "m"),
        (written.seconds, "1d"),
        (written.seconds, "-5"),
        (written.forward, "0"),
        (written.forward, "80:70000"),
        (written.forward, "80/sctp"),
        (written.forward, "80:80/"),
        (written.forward, ":80"),
        (written.passing, "sctp"),
        (written.passing, "any:80"),
        (written.passing, "tcp:"),
        (written.passing, "tcp:0"),
        (written.passing, "tcp:80-"),
        (written.passing, "icmp:echo"),
        (written.label, "plain"),
        (written.label, "=x"),
        (written.disk, "size=ten"),
        (written.disk, "name"),
        (written.disk, "size=1G,size=2G"),
        (written.disk, "size=1G,colour=red"),
        (written.disk, "thin=perhaps,size=1G"),
        (written.nic, "mac=1,mac=2"),
        (written.nic, "speed=fast"),
        (written.metadata, "tokens=maybe"),
        (written.metadata, "hop-limit=two"),
        (written.metadata, "on"),
        (written.limit, "none"),
        (written.size_limit, "much"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_way_to_write_it(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(text)
    assert refused.value.hint or "twice" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("web:/etc/motd", Side("web", "/etc/motd")),
        ("./a:b", Side("", "./a:b")),
        ("motd", Side("", "motd")),
        ("/a:/b", Side("", "/a:/b")),
        ("-", Side("", "-")),
    ],
)
def test_a_side_of_a_copy(text: str, read: Side) -> None:
    assert side(text) == read


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/Old Web.QCOW2.xz", "old-web"),
        ("https://a.org/x/noble.img?v=1", "noble"),
        ("/a/disk", "disk"),
        ("/a/.img", ""),
        ("/a/" + "x" * 99 + ".vmdk", "x" * 63),
    ],
)
def test_an_image_takes_the_name_of_its_file(source: str, name: str) -> None:
    assert name_of(source) == name


def test_what_follows_the_machine() -> None:
    assert rest(["--", "ls", "--", "-l"]) == ["ls", "--", "-l"]
    assert rest(["ls"]) == ["ls"]
    assert rest(()) == []


@pytest.mark.parametrize(
    ("earlier", "later", "length"), [(b"abc", b"bcd", 2), (b"abc", b"xyz", 0), (b"", b"a", 0), (b"aa", b"aa", 2)]
)
def test_what_was_told_twice(earlier: bytes, later: bytes, length: int) -> None:
    assert overlap(earlier, later) == length


def test_last_lines() -> None:
    assert last_lines(b"a\nb\nc", 2) == b"b\nc"
    assert last_lines(b"a\n", 5) == b"a\n"
    assert last_lines(b"a\n", 0) == b""


def launch_request(guest: Guest, **values: Any) -> dict[str, Any]:
    return request(Context(guest.terminal(), {}), {key.replace("__", "."): value for key, value in values.items()})


def test_a_launch_says_only_what_was_said(tmp_path: Path) -> None:
    guest = Guest(tmp_path)
    assert launch_request(guest) == {"spec": {"name": ""}, "start": True, "cold": False}
    assert launch_request(guest, spec__image="micro", labels=[("a", "b")], no_start=True) == {
        "spec": {"name": "", "image": "micro", "labels": {"a": "b"}},
        "start": False,
        "cold": False,
    }
    assert launch_request(guest, cold=True)["cold"] is True


def test_forwards_of_a_launch_belong_to_the_first_card(tmp_path: Path) -> None:
    guest, ports = Guest(tmp_path), [{"guest_port": 80}]
    assert launch_request(guest, forwards=ports)["spec"]["nics"] == [{"forwards": ports}]
    cards = [{"model": "e1000"}, {"model": "virtio"}]
    assert launch_request(guest, forwards=ports, spec__nics=cards)["spec"]["nics"] == [
        {"model": "e1000", "forwards": ports},
        {"model": "virtio"},
    ]


def test_user_data_that_is_no_text_is_written_in_base64(tmp_path: Path) -> None:
    packed, text = tmp_path / "packed", tmp_path / "text"
    packed.write_bytes(gzip.compress(b"#!/bin/sh\n"))
    text.write_bytes("#!/bin/sh\r\n# ü\n".encode())
    spec = launch_request(Guest(tmp_path), user_data=str(packed))["spec"]
    assert (base64.b64decode(spec["user_data"]), spec["user_data_encoding"]) == (packed.read_bytes(), "base64")
    spec = launch_request(Guest(tmp_path), user_data=str(text))["spec"]
    assert (spec["user_data"].encode(), "user_data_encoding" in spec) == (text.read_bytes(), False)


async def test_user_data_and_keys_are_read_from_files(guest: Guest, tmp_path: Path) -> None:
    from tests.cli.transcripts import PUBLIC_KEY

    data, key = tmp_path / "web.yaml", tmp_path / "me.pub"
    data.write_text("#cloud-config\nhostname: web\n")
    key.write_text(PUBLIC_KEY + "\n")
    await guest.ok(f"key add laptop {key}")
    await guest.ok("image build micro")
    await guest.ok(f"launch --name web --user-data {data} --ssh-key {key} --no-start")
    await guest.ok("launch --name db --user-data - --ssh-key laptop --no-start", b"#!/bin/sh\ntrue\n")
    web, db = [(await guest.ok(f"show {name} --json")).json["spec"] for name in ("web", "db")]
    assert (web["user_data"], web["ssh_keys"]) == (data.read_text(), [PUBLIC_KEY])
    assert (db["user_data"], db["ssh_keys"]) == ("#!/bin/sh\ntrue\n", [PUBLIC_KEY])

    for line, code in (
        ("launch --user-data /nowhere", 2),
        (f"launch --user-data {tmp_path}", 2),
        ("launch --ssh-key nobody", 3),
        ("launch --paused --no-start", 2),
    ):
        ended = await guest(line)
        assert ended.code == code, ended
    broken = await guest("launch --user-data -", b"#cloud-config\nusers: [\n")
    assert (broken.code, "YAML" in broken.err) == (2, True)
    assert (await guest("apply -f -", b"\xff")).err == "error: file - is no text (UTF-8)\n"
    assert (await guest("launch --user-data -", b"\xff")).code == 2


async def test_a_machine_goes_through_yaml_unchanged(guest: Guest, tmp_path: Path) -> None:
    await guest.ok("image build micro")
    await guest.ok("launch --name web --user-data - --disk name=data,size=1G", b"#cloud-config\nruncmd:\n- [ls]\n")
    before = (await guest.ok("show web --yaml")).out
    assert "user_data: |\n  #cloud-config\n" in before
    file = tmp_path / "web.yaml"
    file.write_text(before)
    assert (await guest.ok(f"apply -f {file}")).out == "applied web\n"
    assert (await guest.ok("show web --yaml")).out == before
    file.write_text(before.replace("memory_mib: 512", "memory_mib: 1024"))
    assert (await guest.ok(f"apply -f {file} --json")).json["items"][0]["state"] == "done"
    assert "memory_mib: 1024" in (await guest.ok("show web --yaml")).out


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("a: [", "is no YAML"),
        ("", "describes no machine"),
        ("vcpus: 1", "names no machine"),
        ("- a", "names no machine"),
        ("name: a\n---\nname: a", "describes a twice"),
        ("name: a\ncolour: red", "colour"),
    ],
)
async def test_a_document_that_is_none_changes_nothing(guest: Guest, document: str, said: str) -> None:
    ended = await guest("apply -f -", document.encode())
    assert (ended.code, said in ended.err) == (2, True), ended
    assert (await guest.ok("list -q")).out == ""
