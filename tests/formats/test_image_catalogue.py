"""Catalogues of image servers: what is asked for, what is chosen, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.imageserver import INCUS, UBUNTU, digits

from guesthouse.formats.simplestreams import (
    Choice,
    Reference,
    choose,
    parse_index,
    parse_products,
    parse_reference,
    safe_path,
)
from guesthouse.model.errors import GuesthouseError, Invalid, NotFound

VARIANTS = {"ubuntu": ("",), "debian": ("cloud", "default")}


def pick(text: str, architecture: str = "amd64", changes: dict[str, Any] | None = None) -> Choice:
    wanted = parse_reference(text)
    document = {**(UBUNTU if wanted.name == "ubuntu" else INCUS), **(changes or {})}
    products = parse_products(json.dumps(document).encode(), "images.json")
    return choose(
        products, wanted, os=wanted.name, variants=VARIANTS[wanted.name], architecture=architecture, name=text
    )


def refusal(text: str, architecture: str = "amd64", changes: dict[str, Any] | None = None) -> GuesthouseError:
    with pytest.raises(GuesthouseError) as caught:
        pick(text, architecture, changes)
    return caught.value


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("debian:12", Reference("debian", "12")),
        ("Ubuntu:Noble", Reference("ubuntu", "noble")),
        ("ubuntu:24.04/arm64", Reference("ubuntu", "24.04", "", "arm64")),
        ("debian:12/cloud/x86_64@20260101_05:24", Reference("debian", "12", "cloud", "amd64", "20260101_05:24")),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text", ["", "debian", "debian:", ":12", "debian:12/", "a b:1", "debian:12/a/b", "x:1/amd64/arm64"]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_reference(text)
    assert caught.value.field == "image"


@pytest.mark.parametrize("release", ["24.04", "noble", "lts", "default"])
def test_ubuntu_by_number_code_name_and_alias(release: str) -> None:
    choice = pick(f"ubuntu:{release}")
    assert choice.version == "20260410"
    assert choice.path.endswith("disk1.img")
    assert choice.checksum.digits == digits(choice.path)


@pytest.mark.parametrize("release", ["12", "bookworm"])
def test_debian_by_number_and_code_name(release: str) -> None:
    choice = pick(f"debian:{release}")
    assert choice.product.variant == "cloud"
    assert choice.version == "20260319_05:24"
    assert choice.path == "images/debian/bookworm/amd64/cloud/20260319_05:24/disk.qcow2"


def test_the_newest_version_without_a_disk_is_passed_over() -> None:
    assert "20260320_05:24" in INCUS["products"]["debian:bookworm:amd64:cloud"]["versions"]
    assert pick("debian:12").version == "20260319_05:24"


def test_versions_are_numbers() -> None:
    assert pick("ubuntu:22.04").version == "20260401.10"


def test_variant_and_version_as_told() -> None:
    assert pick("debian:12/default").product.variant == "default"
    assert pick("debian:12@20260318_05:24").version == "20260318_05:24"
    error = refusal("debian:12@2020")
    assert error.field == "version"
    assert "20260319_05:24" in error.hint
    assert "cloud" in refusal("debian:12/desktop").hint


def test_another_architecture_says_why_not() -> None:
    error = refusal("debian:12/arm64")
    assert isinstance(error, Invalid)
    assert error.message == "debian:12/arm64 is for arm64; machines of this host are amd64"
    assert pick("debian:12/arm64", "arm64").path.startswith("images/debian/bookworm/arm64")
    assert refusal("ubuntu:22.04", "arm64").hint == "only for amd64"


def test_an_unknown_release_tells_the_known() -> None:
    error = refusal("ubuntu:4.10")
    assert isinstance(error, NotFound)
    assert error.hint == "it has 22.04, 24.04"


def test_containers_only_is_told() -> None:
    error = refusal("debian:11")
    assert error.hint == "the server has it for containers only"


def test_an_image_without_a_checksum_is_refused() -> None:
    item = {"ftype": "disk-kvm.img", "path": "a/b"}
    product = {
        "os": "Debian",
        "arch": "amd64",
        "release": "12",
        "variant": "cloud",
        "versions": {"1": {"items": {"d": item}}},
    }
    assert refusal("debian:12", changes={"products": {"p": product}}).field == "checksum"
    item["path"], item["sha256"] = "../../etc/passwd", "0" * 64
    assert refusal("debian:12", changes={"products": {"p": product}}).field == "path"
    item["path"], item["sha256"] = "a/b", "zz"
    assert refusal("debian:12", changes={"products": {"p": product}}).field == "checksum"


@pytest.mark.parametrize(
    "path", ["", "/etc", "a//b", "../a", "a/../b", "./a", "http://x/y", "a?b", "a#b", "a%2e", "a b", "a\\b", "c:d"]
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(Invalid) as caught:
        safe_path(path, "images.json")
    assert caught.value.field == "path"


def test_the_index_lists_downloadable_images_only() -> None:
    index = {
        "format": "index:1.0",
        "index": {
            "com.ubuntu.cloud:released:download": {"path": "streams/v1/a:b.json", "datatype": "image-downloads"},
            "com.ubuntu.cloud:released:aws": {"path": "streams/v1/aws.json", "datatype": "image-ids"},
        },
    }
    assert parse_index(json.dumps(index).encode(), "index.json") == ["streams/v1/a:b.json"]


@pytest.mark.parametrize("data", [b"", b"[]", b"<html>", b'{"index": []}', b'{"index": {}, "format": "index:9"}'])
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        parse_index(data, "index.json")
