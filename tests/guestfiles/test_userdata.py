"""User-data of every form, and what is refused of it."""

from __future__ import annotations

import gzip
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.guestfiles.micro.firstboot import userdata
from guesthouse.guestfiles.micro.firstboot.guest import Refused


def test_a_cloud_config_is_a_mapping() -> None:
    parts = userdata.decode(b"#cloud-config\nhostname: web\nruncmd:\n- [echo, 1]\n")
    assert (parts.config, parts.scripts, parts.problems) == ({"hostname": "web", "runcmd": [["echo", 1]]}, [], [])


def test_a_script_is_kept_as_it_is() -> None:
    assert userdata.decode(b"#!/bin/sh\necho 1\n").scripts == [b"#!/bin/sh\necho 1\n"]


@pytest.mark.parametrize("data", [b"", b"\n \n", b"#cloud-config\n"])
def test_nothing_is_no_problem(data: bytes) -> None:
    parts = userdata.decode(data)
    assert (parts.config, parts.scripts, parts.problems) == ({}, [], [])


def test_parts_of_a_multipart_message_are_taken_each_by_its_type() -> None:
    message = MIMEMultipart()
    message.attach(MIMEText("#cloud-config\nhostname: web\n", "cloud-config"))
    message.attach(MIMEText("#!/bin/sh\ntrue\n", "x-shellscript"))
    message.attach(MIMEText("x", "x-include-url"))
    parts = userdata.decode(message.as_bytes())
    assert parts.config == {"hostname": "web"}
    assert parts.scripts == [b"#!/bin/sh\ntrue\n"]
    assert parts.problems == ["a part of type text/x-include-url (no name)"]


def test_gzip_is_unpacked() -> None:
    assert userdata.decode(gzip.compress(b"#cloud-config\na: 1\n", mtime=0)).config == {"a": 1}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"hello\n", "begins with 'hello', which is none of #cloud-config, #!"),
        (b"#include\nhttp://x\n", "'#include' is not supported in the micro image"),
        (b"#cloud-boothook\n", "'#cloud-boothook' is not supported"),
        (b"## template: jinja\n#cloud-config\n", "'## template: jinja' is not supported"),
        (b"#cloud-config-archive\n- x\n", "'#cloud-config-archive' is not supported"),
        (b"#cloud-config\n- a\n", "cloud-config must be a mapping, not list"),
        (b"#cloud-config\na: [1\n", "cloud-config is not valid YAML: while parsing a flow sequence"),
        (b"#cloud-config\na: \xff\n", "cloud-config is not valid YAML"),
        (b"#cloud-config\n" + b"[" * 100_000, "cloud-config is not valid YAML: maximum recursion depth"),
        (gzip.compress(b"#cloud-config\n" + b"#" * (17 << 20), mtime=0), "larger than 16 MiB unpacked"),
        (gzip.compress(b"#cloud-config\n", mtime=0)[:-4], "gzip data that is cut off"),
        (b"\x1f\x8bnonsense", "damaged gzip data"),
    ],
)
def test_what_is_not_understood_is_named(data: bytes, problem: str) -> None:
    parts = userdata.decode(data)
    assert len(parts.problems) == 1
    assert problem in parts.problems[0]
    assert (parts.config, parts.scripts) == ({}, [])


documents = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@given(documents)
def test_what_yaml_writes_is_read_back(document: dict[str, Any]) -> None:
    assert userdata.decode(b"#cloud-config\n" + yaml.safe_dump(document).encode()).config == document


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    for form in (data, b"#cloud-config\n" + data, b"\x1f\x8b" + data, b"MIME-Version: 1.0\n" + data):
        parts = userdata.decode(form)
        assert isinstance(parts.config, dict)


def test_a_mapping_has_text_keys() -> None:
    assert userdata.mapping(b"1: a\n", "meta-data") == {"1": "a"}
    with pytest.raises(Refused, match="meta-data must be a mapping, not str"):
        userdata.mapping(b"hello", "meta-data")
