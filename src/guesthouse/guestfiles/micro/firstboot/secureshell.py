"""The SSH server, dropbear: its host keys, the users' authorized keys, its start.

Source: dropbear(8), dropbearconvert(1), authorized_keys in sshd(8).
"""

from __future__ import annotations

import binascii
import struct

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .accounts import Accounts
    from .guest import Guest

_FOLDER = "/etc/dropbear"
_PEM = "/run/host-key.pem"
_OPENSSH = b"openssh-key-v1\0"
_ED25519 = b"ssh-ed25519"
_ED25519_BYTES = 64
# The prefixes of cloud-config's `ssh_keys` (NAME_private, NAME_public) and the file that dropbear has for each.
KEY_FILES = {
    "ed25519": f"{_FOLDER}/dropbear_ed25519_host_key",
    "ecdsa": f"{_FOLDER}/dropbear_ecdsa_host_key",
    "rsa": f"{_FOLDER}/dropbear_rsa_host_key",
}


def authorize(guest: Guest, accounts: Accounts, user: str, keys: Iterable[str]) -> None:
    """Add public keys to those by which a user may log in."""
    owner, home = accounts.owner(user), accounts.home(user)
    path = f"{home}/.ssh/authorized_keys"
    lines = guest.read(path).splitlines()
    for key in map(str.strip, keys):
        if "\n" in key:
            raise Refused(f"an authorized key of {user} has more than one line")
        if key and key not in lines:
            lines.append(key)
    guest.folder(home, 0o700 if user == "root" else 0o755, owner)
    guest.folder(f"{home}/.ssh", 0o700, owner)
    guest.write(path, "".join(f"{line}\n" for line in lines).encode(), 0o600, owner)


def set_host_key(guest: Guest, kind: str, private: str) -> None:
    """Install a host key given in OpenSSH's or PEM form."""
    guest.folder(_FOLDER, 0o700)
    converted = _converted(private) if kind == "ed25519" else None
    if converted is not None:
        guest.write(KEY_FILES[kind], converted, 0o600)
        return
    guest.write(_PEM, private.strip().encode() + b"\n", 0o600)
    try:
        status, said = guest.run(
            ["dropbearconvert", "openssh", "dropbear", guest.path(_PEM), guest.path(KEY_FILES[kind])]
        )
    finally:
        guest.write(_PEM, b"", 0o600)
    if status:
        raise Refused(f"{kind}_private is no key that dropbear reads: {said.decode(errors='replace').strip()}")


def _converted(private: str) -> bytes | None:
    """An ed25519 key as dropbear keeps it; None where it is not in OpenSSH's open form: `dropbearconvert` knows more.

    Source: PROTOCOL.key of OpenSSH; ed25519.c of dropbear. The numbers are the same, only their wrapping differs,
    and on an emulated processor another program is felt.
    """
    lines = private.strip().splitlines()
    if len(lines) < 3 or lines[0] != "-----BEGIN OPENSSH PRIVATE KEY-----":
        return None
    try:
        wrapped = _open_key(binascii.a2b_base64("".join(lines[1:-1])))
        kind, _, numbers = wrapped[:3]
    except (ValueError, struct.error):
        return None
    if kind != _ED25519 or len(numbers) != _ED25519_BYTES:
        return None
    return b"".join(struct.pack(">I", len(part)) + part for part in (kind, numbers))


def _open_key(data: bytes) -> list[bytes]:
    """The strings of the private part. Raises ValueError where it is locked or not of this form."""
    if not data.startswith(_OPENSSH):
        raise ValueError("another form")
    cipher, _, _, rest = _strings(data[len(_OPENSSH) :], 3)
    if cipher != b"none" or rest[:4] != b"\0\0\0\1":
        raise ValueError("locked, or several keys")
    private = _strings(rest[4:], 2)[1]
    if private[:4] != private[4:8]:
        raise ValueError("damaged")
    return _strings(private[8:], 3)


def _strings(data: bytes, count: int) -> list[bytes]:
    """So many strings (RFC 4251, 5), and what is left."""
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from(">I", data)
        found.append(data[4 : 4 + length])
        data = data[4 + length :]
    return [*found, data]


def make_host_keys(guest: Guest) -> str:
    """Make an ed25519 host key where no key was given: the other kinds take long and are not needed.

    The public key that was made, as a line without comment; "" where none was.
    """
    if any(guest.exists(path) for path in KEY_FILES.values()):
        return ""
    guest.folder(_FOLDER, 0o700)
    status, said = guest.run(["dropbearkey", "-t", "ed25519", "-f", guest.path(KEY_FILES["ed25519"])])
    if status:
        raise Refused(f"no host key could be made: {said.decode(errors='replace').strip()}")
    lines = (line.split() for line in said.decode(errors="replace").splitlines())
    return next((" ".join(words[:2]) for words in lines if words[:1] == [_ED25519.decode()]), "")


def start(guest: Guest, passwords: bool) -> None:
    """Start the server. It goes to the background after it has bound its socket: once we return, it listens."""
    keys = [part for path in KEY_FILES.values() if guest.exists(path) for part in ("-r", guest.path(path))]
    status, said = guest.run(["dropbear", *keys, *([] if passwords else ["-s"])])
    if status:
        raise Refused(f"the SSH server did not start: {said.decode(errors='replace').strip()}")
