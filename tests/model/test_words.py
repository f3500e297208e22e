"""Sizes, names, ids and places: written by people, kept exactly."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.model import errors
from guesthouse.model.house import locate
from guesthouse.model.names import check_name, generate_name, is_id, make_id, make_mac
from guesthouse.model.sizes import parse_mib, show_bytes, show_mib


@given(st.integers(1, 1 << 40))
def test_sizes_round_trip(mib: int) -> None:
    assert parse_mib(show_mib(mib), "memory") == mib


@pytest.mark.parametrize(
    ("written", "mib"),
    [
        ("512", 512),
        ("512M", 512),
        ("2G", 2048),
        ("1.5G", 1536),
        ("1T", 1 << 20),
        ("2GiB", 2048),
        ("2048k", 2),
        (7, 7),
    ],
)
def test_sizes_as_people_write_them(written: str | int, mib: int) -> None:
    assert parse_mib(written, "memory") == mib


@pytest.mark.parametrize("written", ["", "0", "-1G", "1GB", "10MB", "1.3M", "G", "1 2", "1k", "1e3"])
def test_sizes_that_are_none(written: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        parse_mib(written, "memory")
    assert refused.value.field == "memory"


def test_bytes_for_people() -> None:
    assert [show_bytes(n) for n in (0, 999, 1536, 417 << 20, 3 << 40)] == [
        "0 B", "999 B", "1.5 KiB", "417 MiB", "3 TiB"
    ]  # fmt: skip


@given(st.integers())
def test_generated_names_and_ids_are_valid_and_differ_in_kind(seed: int) -> None:
    random = Random(seed)
    name, number = generate_name(random), make_id(random)
    assert check_name(name, "machine") == name
    assert is_id(number)
    assert not is_id(name)
    with pytest.raises(errors.Invalid, match="looks like an id"):
        check_name(number, "machine")
    assert make_mac(random).startswith("52:54:00:")


def test_image_names_may_have_colons_machine_names_not() -> None:
    check_name("debian:12", "image")
    with pytest.raises(errors.Invalid):
        check_name("debian:12", "machine")


@pytest.mark.parametrize(
    ("environment", "uid", "home", "socket"),
    [
        ({"GUESTHOUSE_HOME": "/srv/gh"}, 0, "/srv/gh", "/srv/gh/guesthouse.sock"),
        ({}, 0, "/var/lib/guesthouse", "/run/guesthouse/guesthouse.sock"),
        (
            {"HOME": "/home/a"},
            1,
            "/home/a/.local/share/guesthouse",
            "/home/a/.local/share/guesthouse/guesthouse.sock",
        ),
        (
            {"HOME": "/home/a", "XDG_DATA_HOME": "/d", "XDG_RUNTIME_DIR": "/run/user/1"},
            1,
            "/d/guesthouse",
            "/run/user/1/guesthouse/guesthouse.sock",
        ),
    ],
)
def test_where_a_house_is(environment: dict[str, str], uid: int, home: str, socket: str) -> None:
    house = locate(environment, uid)
    assert (house.home, house.socket) == (Path(home), Path(socket))


def test_errors_survive_the_wire() -> None:
    original = errors.Conflict("taken", subject="machine web", field="name", value="web", hint="choose another")
    rebuilt = errors.from_dict(original.as_dict())
    assert isinstance(rebuilt, errors.Conflict)
    assert rebuilt.as_dict() == original.as_dict()


def test_every_kind_of_error_has_its_own_exit_code() -> None:
    codes = [kind.exit_code for kind in errors.KINDS.values()]
    assert len(codes) == len(set(codes))


def test_a_failed_child_shows_its_command_and_last_lines() -> None:
    output = "\n".join(f"line {n}" for n in range(30))
    error = errors.ChildFailed(["qemu-img", "convert", "a", "b"], 1, output, subject="image a")
    assert "qemu-img convert a b" in str(error)
    assert "line 29" in str(error)
    assert "line 3\n" not in str(error)
