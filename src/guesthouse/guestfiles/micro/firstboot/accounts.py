"""Users and groups: `passwd`, `group` and `shadow` read, changed and written as a whole.

Source: passwd(5), group(5), shadow(5); cloud-init's reference of the module "Users and Groups".
"""

from __future__ import annotations

import re

from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .guest import Guest

DEFAULT_USER = "guest"
SHELL = "/bin/sh"
_FIRST_ID = 1000
_FIRST_SYSTEM_ID = 100
_FILES = (("/etc/passwd", 0o644), ("/etc/group", 0o644), ("/etc/shadow", 0o600))
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\$?")
_LOCKED = "!"


class Accounts:
    """The three files as rows of fields. A password field of `!` is locked: no password opens it."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.passwd, self.group, self.shadow = (
            {line.split(":", 1)[0]: line.split(":") for line in guest.read(path).splitlines() if line}
            for path, _ in _FILES
        )

    def save(self) -> None:
        """Write all three files."""
        for (path, permissions), rows in zip(_FILES, (self.passwd, self.group, self.shadow), strict=True):
            text = "".join(":".join(row) + "\n" for row in rows.values())
            self.guest.write(path, text.encode(), permissions)

    def owner(self, name: str) -> tuple[int, int]:
        """User and group id of a user."""
        if name not in self.passwd:
            raise Refused(f"there is no user {name!r}")
        return int(self.passwd[name][2]), int(self.passwd[name][3])

    def group_id(self, name: str) -> int:
        """Id of a group."""
        if name not in self.group:
            raise Refused(f"there is no group {name!r}")
        return int(self.group[name][2])

    def home(self, name: str) -> str:
        """Home folder of a user."""
        return self.passwd[name][5]

    def add_group(self, name: str, number: int | None = None) -> None:
        """Add a group unless it is there."""
        _check_name("group", name)
        if name not in self.group:
            taken = {int(row[2]) for row in self.group.values()}
            self.group[name] = [name, "x", str(number if number is not None else _free(taken, _FIRST_ID)), ""]

    def join(self, user: str, groups: Iterable[str]) -> None:
        """Put a user into groups, which are made where missing."""
        for name in groups:
            self.add_group(name)
            members = [member for member in self.group[name][3].split(",") if member]
            if user not in members:
                self.group[name][3] = ",".join([*members, user])

    def add_user(self, name: str, user: dict[str, Any]) -> None:
        """Add a user from a cloud-config entry; one that is there keeps its id, home and shell."""
        _check_name("user", name)
        if name not in self.passwd:
            first = _FIRST_SYSTEM_ID if user.get("system") else _FIRST_ID
            number = user.get("uid")
            if number is None:
                number = _free({int(row[2]) for row in [*self.passwd.values(), *self.group.values()]}, first)
            group = user.get("primary_group") or (name if not user.get("no_user_group") else "users")
            self.add_group(group, int(number) if group == name else None)
            home = user.get("homedir") or f"/home/{name}"
            self.passwd[name] = [
                name,
                "x",
                str(number),
                self.group[group][2],
                str(user.get("gecos") or "").replace(":", " "),
                home,
                user.get("shell") or SHELL,
            ]
            self.shadow[name] = [name, _LOCKED, "19000", "0", "99999", "7", "", "", ""]
            if not user.get("no_create_home") and not user.get("system"):
                self.guest.folder(home, 0o755, self.owner(name))
        self.join(name, list_of(user.get("groups")))

    def set_password(self, name: str, hashed: str) -> None:
        """Set a user's hashed password."""
        if name not in self.shadow:
            raise Refused(f"there is no user {name!r}")
        if ":" in hashed or "\n" in hashed:
            raise Refused(f"the hashed password of {name} contains a colon or a line end")
        self.shadow[name][1] = hashed

    def lock(self, name: str, locked: bool) -> None:
        """Lock or unlock a user's password; an account without one stays locked."""
        hashed = self.shadow[name][1].lstrip(_LOCKED)
        self.shadow[name][1] = _LOCKED + hashed if locked or not hashed else hashed


def list_of(value: Any) -> list[str]:
    """Cloud-config writes lists as `a, b` too, and a mapping of names by its keys."""
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) else list(value)
    return [str(part).strip() for part in parts if str(part).strip()]


def _check_name(what: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(f"{what} name {name!r}: a small letter or _, then small letters, digits, - and _, at most 32")


def _free(taken: set[int], first: int) -> int:
    return next(number for number in range(first, 60000) if number not in taken)
