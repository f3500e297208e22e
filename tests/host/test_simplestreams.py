"""Image servers: found, downloaded, and their signatures checked, against a real server with both layouts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fileserver import File, Server, serving
from tests.imageserver import INCUS, UBUNTU, content, documents, serve

from guesthouse.host.images import simplestreams
from guesthouse.host.images.download import download
from guesthouse.host.images.simplestreams import REMOTES, Remote, find, read_catalogue
from guesthouse.model.errors import Failed, Invalid, NotFound

UBUNTU_PATH = "streams/v1/com.ubuntu.cloud:released:download.json"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as served:
        serve(served, "/releases", UBUNTU, UBUNTU_PATH)
        serve(served, "/incus", INCUS, "streams/v1/images.json")
        yield served


def remotes(server: Server, **changes: str) -> dict[str, Remote]:
    """The real rows, pointed at the server of the test."""
    rows = {
        "ubuntu": REMOTES["ubuntu"]._replace(url=f"{server.url}/releases"),
        "debian": REMOTES["debian"]._replace(url=f"{server.url}/incus/"),
    }
    return {name: row._replace(**changes) for name, row in rows.items()}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ubuntu:24.04", "ubuntu:noble", "debian:12", "debian:bookworm/cloud"])
async def test_an_image_is_found_downloaded_and_verified(server: Server, tmp_path: Path, name: str) -> None:
    found = await find(name, architecture="x86_64", remotes=remotes(server))
    assert (found.name, found.architecture, found.os) == (name, "amd64", name.split(":")[0])
    assert found.variant == ("cloud" if found.os == "debian" else "")
    done = await download(
        found.url, tmp_path / "disk", checksum=found.checksum, limit_bytes=found.file_bytes, progress=lambda *_: None
    )
    assert done.path.read_bytes() == content(found.url.split("/", 4)[4])
    assert done.file_bytes == found.file_bytes


async def test_a_server_that_is_not_known_tells_the_known(server: Server) -> None:
    with pytest.raises(NotFound) as caught:
        await find("plan9:4", architecture="amd64", remotes=remotes(server))
    assert caught.value.hint.startswith("known are ubuntu, debian")


async def test_errors_of_the_server_are_told(server: Server) -> None:
    with pytest.raises(NotFound, match="has no such file"):
        await find("ubuntu:24.04", architecture="amd64", remotes={"ubuntu": Remote(f"{server.url}/empty")})
    server.files["/releases/streams/v1/index.json"] = File(b"<html>login</html>")
    with pytest.raises(Invalid, match="is no simplestreams document"):
        await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server))
    server.files["/releases/streams/v1/index.json"] = File(b'{"format": "index:1.0", "index": {}}')
    with pytest.raises(Invalid, match="lists 0 catalogues"):
        await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server))


def test_the_rows_are_whole() -> None:
    for name, remote in REMOTES.items():
        assert remote.url.startswith("https://"), name
        assert remote.variants, name
        assert bool(remote.keyring) == bool(remote.package), name


# ---- signatures


@pytest.fixture(scope="module")
def gnupg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg with two keys; the keyring of the first is what the host trusts."""
    home = tmp_path_factory.mktemp("gnupg", numbered=True)
    home.chmod(0o700)
    for who in ("server", "stranger"):
        gpg(home, "--quick-generate-key", f"{who}@example.org", "ed25519", "sign", "never")
    gpg(home, "--output", str(home / "server.gpg"), "--export", "server@example.org")
    yield home
    subprocess.run(("gpgconf", "--homedir", str(home), "--kill", "gpg-agent"), check=True)


def gpg(home: Path, *arguments: str, data: bytes = b"") -> bytes:
    argv = ("gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback")
    done = subprocess.run((*argv, *arguments), input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sign(server: Server, home: Path, who: str) -> None:
    """Add the signed twins, which name signed twins, as the tools of simplestreams make them."""
    for name, data in documents(UBUNTU, UBUNTU_PATH).items():
        text = json.dumps(json.loads(data), indent=1).replace(".json", ".sjson").encode()
        signed = gpg(home, "--local-user", f"{who}@example.org", "--clear-sign", data=text)
        server.files[f"/releases/{name.removesuffix('.json')}.sjson"] = File(signed)


async def test_a_good_signature_is_verified(server: Server, gnupg: Path) -> None:
    sign(server, gnupg, "server")
    keyring = str(gnupg / "server.gpg")
    found = await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server, keyring=keyring))
    assert found.signature == simplestreams.Signature(True, f"good, by {keyring}")
    assert [request.path.rpartition(".")[2] for request in server.requests] == ["sjson", "sjson"]


async def test_a_strangers_signature_is_an_error(server: Server, gnupg: Path) -> None:
    sign(server, gnupg, "stranger")
    with pytest.raises(Failed, match=r"signature of .*index\.sjson is not good") as caught:
        await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server, keyring=str(gnupg / "server.gpg")))
    assert caught.value.field == "signature"


@pytest.mark.parametrize("name", ["streams/v1/index.sjson", UBUNTU_PATH.replace(".json", ".sjson")])
async def test_a_changed_document_is_an_error(server: Server, gnupg: Path, name: str) -> None:
    sign(server, gnupg, "server")
    file = server.files[f"/releases/{name}"]
    file.data = file.data.replace(b"amd64", b"amd65", 1)
    with pytest.raises(Failed, match="is not good"):
        await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server, keyring=str(gnupg / "server.gpg")))


async def test_text_around_the_signed_part_is_not_read(server: Server, gnupg: Path) -> None:
    sign(server, gnupg, "server")
    file = server.files["/releases/streams/v1/index.sjson"]
    file.data = b'{"format": "index:1.0", "index": {"evil": {"path": "evil.json"}}}\n' + file.data
    keyring = str(gnupg / "server.gpg")
    found = await find("ubuntu:24.04", architecture="amd64", remotes=remotes(server, keyring=keyring))
    assert found.signature.verified
    assert not any("evil" in request.path for request in server.requests)


async def test_a_signature_that_was_taken_away_is_an_error(server: Server, gnupg: Path) -> None:
    """Else a man in the middle only has to leave it out."""
    with pytest.raises(NotFound, match=r"index\.sjson"):
        await read_catalogue(remotes(server, keyring=str(gnupg / "server.gpg"))["ubuntu"])


async def test_what_cannot_be_checked_is_said(server: Server) -> None:
    rows = remotes(server, keyring="/no/such/keyring.gpg", package="some-keyring")
    signature = (await read_catalogue(rows["ubuntu"])).signature
    assert signature == simplestreams.Signature(
        False, "not checked: /no/such/keyring.gpg is missing (package some-keyring)"
    )
    signature = (await read_catalogue(remotes(server, keyring="")["debian"])).signature
    assert not signature.verified
    assert "is not known to sign" in signature.detail
