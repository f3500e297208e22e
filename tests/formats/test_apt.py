"""Debian's own sources among those of a host."""

from __future__ import annotations

import pytest
from tests.golden.golden import Golden

from guesthouse.formats import apt
from guesthouse.formats.apt import Source
from guesthouse.model.errors import Failed


def _target(uri: str, release: str, component: str = "main", **more: str) -> str:
    fields = {"Repo-URI": uri, "Release": release, "Component": component, "Target-Of": "deb", **more}
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


_DEBIAN = "\n".join(
    (
        _target("http://mirror.example/debian/", "bookworm", Origin="Debian"),
        _target("http://mirror.example/debian/", "bookworm", "contrib", Origin="Debian"),
        _target("http://mirror.example/debian/", "bookworm-updates", **{"Signed-By": apt.KEYRING}),
        _target("http://security.example/debian-security/", "bookworm-security"),
    )
)


def test_debians_suites_are_taken_with_their_components() -> None:
    assert apt.debian_sources(_DEBIAN, "bookworm") == (
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("http://mirror.example/debian", "bookworm-updates", ("main",)),
        Source("http://security.example/debian-security", "bookworm-security", ("main",)),
    )


@pytest.mark.parametrize(
    "foreign",
    [
        _target("https://packages.example/apt", "cloud-sdk-bookworm"),
        _target("https://download.example/linux/debian", "bookworm", "stable"),
        _target("https://packages.example/debian", "bookworm", Origin="Example"),
        _target("https://packages.example/debian", "bookworm", **{"Signed-By": "/usr/share/keyrings/example.gpg"}),
        _target("http://mirror.example/debian", "trixie"),
        _target("http://mirror.example/debian", "bookworm", **{"Target-Of": "deb-src"}),
    ],
    ids=["suite", "component", "origin", "key", "release", "source code"],
)
def test_what_is_not_debians_stays_out(foreign: str) -> None:
    assert apt.debian_sources(f"{_DEBIAN}\n{foreign}", "bookworm") == apt.debian_sources(_DEBIAN, "bookworm")


def test_a_host_without_the_release_is_told() -> None:
    with pytest.raises(Failed, match="no server for Debian bookworm") as refused:
        apt.debian_sources(_target("http://mirror.example/debian", "trixie"), "bookworm")
    assert "bookworm main" in refused.value.hint


@pytest.mark.parametrize(
    "uri",
    [
        "file:/srv/debian",
        "http://localhost:3142/debian",
        "http://127.0.0.1/debian",
        "https://me:secret@mirror.example/d",
    ],
)
def test_a_guest_gets_no_server_that_is_the_hosts_alone(uri: str) -> None:
    public = Source("http://mirror.example/debian", "bookworm", ("main",))
    assert apt.for_guest([Source(uri, "bookworm-security", ("main",)), public]) == (public,)


def test_a_public_mirror_stays() -> None:
    sources = apt.debian_sources(_DEBIAN, "bookworm")
    assert apt.for_guest(sources) == sources
    assert apt.left_out(sources) == ""


def test_what_a_guest_does_not_get_is_told_without_passwords() -> None:
    public = Source("http://mirror.example/debian", "bookworm", ("main",))
    private = (
        Source("https://me:secret@mirror.example/d", "bookworm", ("main",)),
        Source("file:/srv/debian", "bookworm-updates", ("main",)),
        Source("file:/srv/debian", "bookworm-security", ("main",)),
    )
    servers = "file:/srv/debian, https://mirror.example/d"
    assert (
        apt.left_out(private) == f"the image has no package sources, as this host has them for itself alone: {servers}"
    )
    assert apt.left_out((public, *private)) == (
        f"the image lacks some package sources, as this host has them for itself alone: {servers}"
    )


def test_as_the_guest_has_them(golden: Golden) -> None:
    golden("debian/debian.sources", apt.deb822(apt.debian_sources(_DEBIAN, "bookworm")))


def test_as_the_build_has_them() -> None:
    assert apt.one_line([Source("http://mirror.example/debian", "bookworm", ("main", "contrib"))]) == (
        f"deb [signed-by={apt.KEYRING}] http://mirror.example/debian bookworm main contrib\n"
    )


def test_only_settings_of_the_transport_go_along() -> None:
    dump = "\n".join(
        (
            'Acquire::http::Proxy "http://proxy.example:3128";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::https "";',
            'Acquire::IndexTargets::deb::Packages::MetaKey "x";',
            'DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";',
            'APT::Install-Recommends "1";',
        )
    )
    assert apt.transport_settings(dump) == tuple(dump.splitlines()[:2])
