"""EC2's dialect: documents, listings, sessions."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.doors.metadata.asking import TOKEN, TOKENS, TTL, a_call
from tests.doors.metadata.samples import BARE, FREE, NOW, STRICT, WEB
from tests.golden.golden import Golden

from guesthouse.doors.metadata import ec2
from guesthouse.doors.metadata.ec2_table import TABLE, VERSIONS
from guesthouse.doors.metadata.identity import Identity
from guesthouse.doors.metadata.messages import Answer
from guesthouse.host import metadata_keys
from guesthouse.model.metadata import Asked

OPEN_BARE = msgspec.structs.replace(BARE, options=FREE)


def get(asked: Asked, target: str, **more: object) -> Answer:
    return ec2.answer(a_call(asked, target, **more))  # type: ignore[arg-type]


def text(asked: Asked, target: str) -> str:
    answer = get(asked, target)
    assert answer.status == 200, target
    return answer.body.decode()


def crawl(asked: Asked, folder: str) -> Iterator[tuple[str, str]]:
    """All documents below a folder as a client finds them: by its listings."""
    for line in text(asked, folder).splitlines():
        index, is_key, _ = line.partition("=")
        if line.endswith("/"):
            yield from crawl(asked, folder + line)
        elif is_key:
            yield from crawl(asked, f"{folder}{index}/")
        else:
            yield folder + line, text(asked, folder + line)


def test_all_documents_of_a_machine(golden: Golden) -> None:
    found = [each for folder in ("meta-data", "dynamic") for each in crawl(WEB, f"/latest/{folder}/")]
    golden("metadata/ec2.txt", "".join(f"{path}\n{told!r}\n" for path, told in found))


@pytest.mark.parametrize(("spot", "told"), [(False, "on-demand"), (True, "spot")])
def test_a_machine_is_told_how_it_was_bought(spot: bool, told: str) -> None:
    asked = msgspec.structs.replace(WEB, spot=spot)
    assert text(asked, "/latest/meta-data/instance-life-cycle") == told


def test_what_becomes_of_an_interrupted_machine() -> None:
    stops = msgspec.structs.replace(WEB, stopped=True)
    assert json.loads(text(stops, "/latest/meta-data/spot/instance-action"))["action"] == "stop"
    assert get(stops, "/latest/meta-data/spot/termination-time").status == 404
    free = msgspec.structs.replace(WEB, interrupted_at=0.0)
    assert "spot/" not in text(free, "/latest/meta-data/").splitlines()


def test_a_machine_with_little_to_tell(golden: Golden) -> None:
    found = [each for folder in ("meta-data", "dynamic") for each in crawl(OPEN_BARE, f"/latest/{folder}/")]
    golden("metadata/ec2-bare.txt", "".join(f"{path}\n{told!r}\n" for path, told in found))


def test_a_crawl_finds_every_row() -> None:
    found = [path for folder in ("meta-data", "dynamic") for path, _ in crawl(WEB, f"/latest/{folder}/")]
    patterns = {row.path: re.compile("/latest/" + re.sub(r"{[^}]+}", "[^/]+", row.path)) for row in TABLE.rows}
    missing = [path for path, pattern in patterns.items() if not any(map(pattern.fullmatch, found))]
    signatures = [f"dynamic/instance-identity/{name}" for name in ("signature", "pkcs7", "rsa2048")]
    assert missing == ["user-data", *signatures]  # the one is in no listing, the others want the house's key


@pytest.mark.parametrize(
    ("target", "listed"),
    [
        ("/latest", ["dynamic", "meta-data", "user-data"]),
        ("/latest/", ["dynamic", "meta-data", "user-data"]),
        ("/latest/meta-data/public-keys", ["0=anna", "1=bert"]),
        ("/latest/meta-data/public-keys/0/", ["openssh-key"]),
        ("/latest/meta-data/network/interfaces/", ["macs/"]),
        ("/latest/meta-data/network/interfaces/macs/", ["52:54:00:0a:0b:0c/", "52:54:00:0a:0b:0d/"]),
        ("//latest//meta-data/placement/", ["availability-zone", "region"]),
        ("/latest/meta-data/tags/instance/", ["tier"]),
        ("/latest/dynamic/", ["fws/", "instance-identity/"]),
        ("/latest/dynamic/instance-identity", ["document"]),
    ],
)
def test_listings(target: str, listed: list[str]) -> None:
    assert text(WEB, target) == "\n".join(listed)


def test_the_root_lists_versions() -> None:
    assert text(WEB, "/").splitlines() == [*VERSIONS, "latest"]
    assert sorted(VERSIONS) == VERSIONS


@pytest.mark.parametrize(
    "target", ["/latest/meta-data/instance-id", "/1.0/meta-data/instance-id/", "/2024-04-11/meta-data/instance-id"]
)
def test_the_id(target: str) -> None:
    assert text(WEB, target) == "i-6f1c2d3e4a5b4c6d8"


def test_older_versions_have_what_there_was() -> None:
    assert "tags/" in text(WEB, "/2021-03-23/meta-data/").splitlines()
    assert "tags/" not in text(WEB, "/2021-01-03/meta-data/").splitlines()
    assert text(WEB, "/1.0/meta-data/").splitlines()[:3] == ["ami-id", "ami-launch-index", "ami-manifest-path"]


@pytest.mark.parametrize(
    "target",
    [
        "/2999-01-01/meta-data/",
        "/latest/meta-data/nothing",
        "/latest/meta-data/instance-id/more",
        "/latest/meta-data/../user-data",
        "/latest/meta-data/public-keys/0=anna",
        "/latest/meta-data/public-keys/2/openssh-key",
        "/latest/meta-data/tags/instance/team%2Fowner",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/dynamic/instance-identity/pkcs7",
        "/latest/api/more",
        "/Latest/meta-data",
        "/latest/meta-data/instance-id%00",
    ],
)
def test_what_there_is_not(target: str) -> None:
    assert get(WEB, target).status == 404


def test_user_data_is_given_as_it_is() -> None:
    odd = msgspec.structs.replace(WEB, user_data=bytes(range(256)))
    answer = get(odd, "/latest/user-data")
    assert (answer.status, answer.body, answer.media_type) == (200, bytes(range(256)), "application/octet-stream")
    assert get(OPEN_BARE, "/latest/user-data").status == 404
    assert text(OPEN_BARE, "/latest/") == "dynamic\nmeta-data"


def test_labels_are_told_where_that_is_allowed() -> None:
    silent = msgspec.structs.replace(WEB, options=msgspec.structs.replace(FREE, labels=False))
    assert text(WEB, "/latest/meta-data/tags/instance/tier") == "front"
    assert get(silent, "/latest/meta-data/tags/instance/tier").status == 404
    assert "tags/" not in text(silent, "/latest/meta-data/")


# --- sessions -------------------------------------------------------------------------------------------------

GUARDED = msgspec.structs.replace(WEB, options=STRICT)
OTHER = msgspec.structs.replace(GUARDED, machine="00000000-4a5b-4c6d-8e7f-901a2b3c4d5e")


def session(ttl: str = "60") -> str:
    answer = get(GUARDED, "/latest/api/token", method="PUT", headers={TTL: ttl})
    assert answer.status == 200
    assert (TTL.lower(), ttl) in answer.headers
    return answer.body.decode()


def test_a_session_opens_the_documents_until_it_ends() -> None:
    headers = {TOKEN: session("60")}
    answer = get(GUARDED, "/latest/meta-data/instance-id", headers=headers, now=NOW + 59)
    assert (answer.status, answer.headers) == (200, ((TTL.lower(), "1"),))
    assert get(GUARDED, "/latest/meta-data/instance-id", headers=headers, now=NOW + 60).status == 401
    assert get(OTHER, "/latest/meta-data/instance-id", headers=headers).status == 401


@pytest.mark.parametrize("ttl", ["0", "21601", "-1", "", "1.5", "abc", "٣", "99999999999999999999", "+60", " 60"])
def test_lives_that_a_session_cannot_have(ttl: str) -> None:
    assert get(GUARDED, "/latest/api/token", method="PUT", headers={TTL: ttl}).status == 400


@pytest.mark.parametrize("ttl", ["1", "21600"])
def test_lives_that_a_session_can_have(ttl: str) -> None:
    assert TOKENS.left_s(session(ttl), GUARDED.machine, NOW) == int(ttl)


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("PUT", "/latest/api/token", {}, 400),
        ("GET", "/latest/api/token", {}, 405),
        ("POST", "/latest/api/token", {TTL: "60"}, 405),
        ("GET", "/latest/meta-data/", {}, 401),
        ("GET", "/", {}, 401),
        ("GET", "/latest/meta-data/", {TOKEN: ""}, 401),
        ("GET", "/latest/meta-data/", {TOKEN: "A" * 56}, 401),
        ("GET", "/latest/meta-data/", {TOKEN: "ä" * 56}, 401),
        ("GET", "/no-such-version/", {}, 401),
        ("PUT", "/latest/meta-data/", {}, 405),
        ("DELETE", "/latest/meta-data/", {}, 405),
        ("OPTIONS", "/latest/meta-data/", {}, 405),
    ],
)
def test_what_is_refused_where_sessions_are_required(
    method: str, target: str, headers: dict[str, str], status: int
) -> None:
    answer = get(GUARDED, target, method=method, headers=headers)
    assert answer.status == status
    assert (status == 405) == ("Allow" in dict(answer.headers))


def test_a_token_that_does_not_hold_is_refused_also_where_none_is_needed() -> None:
    assert get(WEB, "/latest/meta-data/", headers={TOKEN: "A" * 56}).status == 401
    assert get(WEB, "/latest/meta-data/").status == 200


# --- identity -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> metadata_keys.IdentityKey:
    folder = tmp_path_factory.mktemp("keys")
    made = metadata_keys.identity_key(folder, datetime.now(UTC))
    assert metadata_keys.identity_key(folder, datetime.now(UTC)) == made
    assert metadata_keys.session_secret(folder) == metadata_keys.session_secret(folder)
    assert [path.stat().st_mode & 0o777 for path in sorted(folder.iterdir())] == [0o600] * 3
    return made


def signed(keys: metadata_keys.IdentityKey, name: str) -> tuple[bytes, bytes]:
    """The document and one of its signatures, as bytes."""
    identity = Identity(lambda: keys)
    told = [get(WEB, f"/latest/dynamic/instance-identity/{each}", identity=identity) for each in ("document", name)]
    assert [answer.status for answer in told] == [200, 200]
    return told[0].body, base64.b64decode(told[1].body)


def test_the_document_says_what_the_paths_say(keys: metadata_keys.IdentityKey) -> None:
    document = json.loads(signed(keys, "signature")[0])
    assert document["instanceId"] == text(WEB, "/latest/meta-data/instance-id")
    assert document["imageId"] == text(WEB, "/latest/meta-data/ami-id")
    assert document["accountId"] == "000000000042"
    assert document["pendingTime"] == "2027-01-15T08:00:00Z"


def openssl(folder: Path, *words: str, **files: bytes) -> subprocess.CompletedProcess[bytes]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return subprocess.run(("openssl", *words), cwd=folder, capture_output=True)


@pytest.mark.parametrize("change", [b"", b"x"])
def test_the_bare_signature_is_the_houses(tmp_path: Path, keys: metadata_keys.IdentityKey, change: bytes) -> None:
    document, signature = signed(keys, "signature")
    public = openssl(tmp_path, "x509", "-in", "cert", "-pubkey", "-noout", cert=keys.certificate).stdout
    checked = openssl(tmp_path, "dgst", "-sha256", "-verify", "key", "-signature", "signature", "document",
                      key=public, signature=signature, document=document + change)  # fmt: skip
    assert (checked.returncode == 0) == (not change), checked.stderr


@pytest.mark.parametrize("name", ["pkcs7", "rsa2048"])
def test_the_whole_signature_is_the_houses_and_holds_the_document(
    tmp_path: Path, keys: metadata_keys.IdentityKey, name: str
) -> None:
    document, whole = signed(keys, name)
    checked = openssl(tmp_path, "cms", "-verify", "-inform", "DER", "-in", "whole", "-certfile", "cert", "-CAfile",
                      "cert", "-partial_chain", "-purpose", "any", whole=whole, cert=keys.certificate)  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == document


def test_identities_are_listed_where_they_are(keys: metadata_keys.IdentityKey) -> None:
    listed = get(WEB, "/latest/dynamic/instance-identity/", identity=Identity(lambda: keys))
    assert listed.body == b"document\npkcs7\nrsa2048\nsignature"
