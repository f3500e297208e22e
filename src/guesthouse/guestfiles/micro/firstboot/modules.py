"""What of cloud-config the micro image does: a table of modules and the keys they take.

Rules
-----
1. Modules run in the order of the table, each when one of its keys is there; those marked `always` each time.
2. A key is in one of three tables: done here (`MODULES`), without meaning here (`IGNORED`), or a failure:
   known to cloud-init but not to be done here (`REFUSED`), or not known at all.
3. A key with a value of the wrong type is refused before its module runs.

Source: cloud-init's module reference.
"""

from __future__ import annotations

import re
import time

from . import accounts as users
from . import commands, files, secureshell
from .accounts import Accounts, list_of
from .guest import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .guest import Guest
    from .outcome import Outcome
    from .sources import Seed


class Work:
    """What the modules work on."""

    def __init__(
        self, guest: Guest, seed: Seed, config: dict[str, Any], scripts: list[bytes], outcome: Outcome
    ) -> None:
        self.guest = guest
        self.seed = seed
        self.config = config
        self.scripts = scripts
        self.outcome = outcome
        self.accounts = Accounts(guest)
        self.passwords = False


# --- modules of the stage "init": before the network is waited for and the SSH server started -----------------


def _bootcmd(work: Work) -> None:
    commands.run_script(work.guest, "bootcmd", commands.shell_script("bootcmd", work.config["bootcmd"]).encode())


def _write_files(work: Work) -> None:
    _write(work, deferred=False)


def _write_deferred_files(work: Work) -> None:
    _write(work, deferred=True)


def _write(work: Work, deferred: bool) -> None:
    for entry in work.config["write_files"] or ():
        if bool(isinstance(entry, dict) and entry.get("defer")) is deferred:
            try:
                files.write_file(work.guest, work.accounts, entry)
            except Refused as problem:
                work.outcome.fail("write_files", str(problem))


_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


def host_names(work: Work) -> tuple[str, str]:
    """Host name and fully qualified name, by user-data first, then meta-data; empty where neither tells."""
    given = work.config.get("fqdn") or work.config.get("hostname") or ""
    given = str(given or work.seed.metadata.get("local-hostname") or work.seed.metadata.get("hostname") or "")
    if given and not _HOST_NAME.fullmatch(given):
        raise Refused(f"{given!r} is no host name")
    short = str(work.config.get("hostname") or given).partition(".")[0]
    return (given if work.config.get("prefer_fqdn_over_hostname") else short), given


def _set_hostname(work: Work) -> None:
    name, full = host_names(work)
    if not name or work.config.get("preserve_hostname"):
        return
    work.guest.write("/etc/hostname", f"{name}\n".encode())
    work.guest.set_hostname(name)
    names = f"{full} {name}" if full != name else name
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\n"
    if work.config.get("manage_etc_hosts") is not False:
        work.guest.write("/etc/hosts", hosts.encode())


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def _machine_id(work: Work) -> None:
    """machine-id(5): the instance's own id where that is one for the whole world, else a new one."""
    given = str(work.seed.metadata.get("instance-id") or "")
    id = given if _UUID.fullmatch(given) else work.guest.read("/proc/sys/kernel/random/uuid").strip()
    work.guest.write("/etc/machine-id", id.replace("-", "").lower().encode() + b"\n", 0o444)


_USER_KEYS = {
    "name", "gecos", "homedir", "primary_group", "groups", "lock_passwd", "passwd", "hashed_passwd",
    "plain_text_passwd", "shell", "ssh_authorized_keys", "uid", "system", "no_create_home", "no_user_group",
}  # fmt: skip
_IGNORED_USER_KEYS = {"sudo", "doas", "expiredate", "inactive", "selinux_user", "create_groups", "no_log_init"}


def _users_groups(work: Work) -> None:
    accounts = work.accounts
    for group, members in _groups(work.config.get("groups")):
        accounts.add_group(group)
        for member in members:
            accounts.join(member, [group])
    # Without a list of users there is the default one; with a list, only where the list names it.
    entries = work.config.get("users", ["default"])
    if isinstance(entries, str):
        entries = list_of(entries)
    for entry in entries if isinstance(entries, list) else [entries]:
        try:
            _add_user(work, entry)
        except Refused as problem:
            work.outcome.fail("users_groups", str(problem))
    accounts.save()


def _groups(groups: Any) -> list[tuple[str, list[str]]]:
    if isinstance(groups, dict):
        return [(str(name), list_of(members)) for name, members in groups.items()]
    if not isinstance(groups, list):
        return [(name, []) for name in list_of(groups)]
    return [pair for item in groups for pair in (_groups(item) if isinstance(item, dict) else [(str(item), [])])]


def _add_user(work: Work, entry: Any) -> None:
    user = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(user, dict) or not isinstance(user.get("name"), str):
        raise Refused(f"a user is a name, or a mapping with a name, not {entry!r}")
    name = user["name"]
    if name == "default":
        name, user = users.DEFAULT_USER, {**_DEFAULT_USER, **user, "name": users.DEFAULT_USER}
    unknown = sorted(set(map(str, user)) - _USER_KEYS - _IGNORED_USER_KEYS)
    if unknown:
        work.outcome.fail("users_groups", f"user {name}: {', '.join(unknown)} is not supported in the micro image")
    for key in sorted(set(user) & _IGNORED_USER_KEYS):
        work.outcome.ignore("users_groups", f"user {name}: {key}: the micro image has no such thing")
    shell = user.get("shell")
    if shell and not work.guest.exists(shell):
        work.outcome.ignore("users_groups", f"user {name}: shell {shell} is not in the micro image, {users.SHELL} is")
        user = {**user, "shell": users.SHELL}
    work.accounts.add_user(name, user)
    _set_user_password(work, name, user)
    secureshell.authorize(work.guest, work.accounts, name, _keys(user.get("ssh_authorized_keys")))


_DEFAULT_USER = {"gecos": "Guest", "groups": "users"}


def _set_user_password(work: Work, name: str, user: dict[str, Any]) -> None:
    hashed = user.get("hashed_passwd") or user.get("passwd")
    if user.get("plain_text_passwd"):
        hashed = _hash(work.guest, str(user["plain_text_passwd"]))
    if hashed:
        work.accounts.set_password(name, str(hashed))
    work.accounts.lock(name, bool(user.get("lock_passwd", True)))


def _hash(guest: Guest, password: str) -> str:
    if "\n" in password:
        raise Refused("a password has more than one line")
    # By standard input: an argument could be read by every user of the guest.
    status, said = guest.run(["mkpasswd", "-m", "sha512", "-P", "0"], password.encode() + b"\n")
    if status:
        raise Refused(f"a password could not be hashed: {said.decode(errors='replace').strip()}")
    return said.decode().strip().splitlines()[-1]


def _keys(keys: Any) -> list[str]:
    if keys is None:
        return []
    return [keys] if isinstance(keys, str) else [str(key) for key in keys]


def _ssh(work: Work) -> None:
    keys = _keys(work.config.get("ssh_authorized_keys")) + work.seed.keys
    # The micro image's own setting is `disable_root: false`: root is who works in it.
    receivers = ["root"] if not work.config.get("disable_root") else []
    receivers += [users.DEFAULT_USER] if users.DEFAULT_USER in work.accounts.passwd else []
    for user in receivers:
        if keys:
            secureshell.authorize(work.guest, work.accounts, user, keys)
    for name, value in (work.config.get("ssh_keys") or {}).items():
        kind, _, part = str(name).rpartition("_")
        if part == "private" and kind in secureshell.KEY_FILES:
            secureshell.set_host_key(work.guest, kind, str(value))
        elif part not in ("public", "certificate") or kind not in secureshell.KEY_FILES:
            work.outcome.fail(
                "ssh", f"ssh_keys: {name} is not supported; known kinds are {', '.join(secureshell.KEY_FILES)}"
            )


def _set_passwords(work: Work) -> None:
    wants_change = work.config.get("chpasswd") or {}
    unknown = sorted(set(wants_change) - {"expire", "users", "list"})
    if unknown:
        raise Refused(f"chpasswd: {', '.join(unknown)} is not known")
    pairs = [(users.DEFAULT_USER, work.config["password"], "text")] if work.config.get("password") else []
    for user in wants_change.get("users") or ():
        pairs.append((str(user.get("name")), user.get("password"), str(user.get("type", "hash"))))
    listed = wants_change.get("list") or ()
    for line in listed.splitlines() if isinstance(listed, str) else listed:
        name, _, password = str(line).partition(":")
        pairs.append((name.strip(), password, "hash" if password.startswith("$") else "text"))
    for name, password, kind in pairs:
        if kind not in ("text", "hash") or not password:
            raise Refused(
                f"chpasswd: user {name}: type {kind!r} is not supported; known are text and hash, with a password"
            )
        work.accounts.set_password(name, str(password) if kind == "hash" else _hash(work.guest, str(password)))
    work.accounts.save()
    work.passwords = work.config.get("ssh_pwauth") in (True, "true", "yes", "True")


# --- modules of the stages "modules-config" and "modules-final" -----------------------------------------------


def _runcmd(work: Work) -> None:
    commands.run_script(work.guest, "runcmd", commands.shell_script("runcmd", work.config["runcmd"]).encode())


def _scripts_user(work: Work) -> None:
    commands.run_all(work.guest, work.scripts)


def _final_message(work: Work) -> None:
    said = str(work.config["final_message"])
    values = {
        "uptime": f"{time.monotonic():.2f}",
        "datasource": work.seed.detail,
        "timestamp": time.ctime(),
        "version": "micro",
    }
    for name, value in values.items():
        for written in (f"${{{name}}}", f"${name}", f"${{{name.upper()}}}", f"${name.upper()}"):
            said = said.replace(written, value)
    work.guest.log(said)


def _power_state(work: Work) -> None:
    wanted = work.config["power_state"]
    unknown = sorted(set(map(str, wanted)) - {"mode", "delay", "message", "timeout", "condition"})
    mode = _POWER.get(str(wanted.get("mode")))
    if unknown:
        raise Refused(f"power_state: {', '.join(unknown)} is not known")
    if mode is None or str(wanted.get("delay", "now")) not in ("now", "+0", "0"):
        raise Refused(f"power_state: mode is one of {', '.join(_POWER)}, and delay is now")
    condition = wanted.get("condition", True)
    if isinstance(condition, str | list):
        script = commands.shell_script("power_state", [condition])
        condition = work.guest.run(["/bin/sh", "-c", script])[0] == 0
    if condition:
        work.guest.run([mode])


_POWER = {"poweroff": "poweroff", "halt": "halt", "reboot": "reboot"}
_LIST = (list, str)


class Module:
    """A row: name in the outcome, stage, the keys it takes with their types, and what it does."""

    def __init__(
        self, name: str, stage: str, keys: dict[str, Any], do: Callable[[Work], None], always: bool = False
    ) -> None:
        self.name = name
        self.stage = stage
        self.keys = keys
        self.do = do
        self.always = always


MODULES = (
    Module("bootcmd", "init", {"bootcmd": _LIST}, _bootcmd),
    Module("write_files", "init", {"write_files": list}, _write_files),
    Module(
        "set_hostname",
        "init",
        {
            "hostname": str,
            "fqdn": str,
            "preserve_hostname": bool,
            "prefer_fqdn_over_hostname": bool,
            "manage_etc_hosts": (bool, str),
        },
        _set_hostname,
        always=True,
    ),
    Module("machine_id", "init", {}, _machine_id, always=True),
    Module(
        "users_groups", "init", {"users": (list, str, dict), "groups": (list, str, dict)}, _users_groups, always=True
    ),
    Module("ssh", "init", {"ssh_authorized_keys": _LIST, "ssh_keys": dict, "disable_root": bool}, _ssh, always=True),
    Module("set_passwords", "init", {"password": str, "chpasswd": dict, "ssh_pwauth": (bool, str)}, _set_passwords),
    Module("write_files_deferred", "modules-config", {"write_files": list}, _write_deferred_files),
    Module("runcmd", "modules-config", {"runcmd": _LIST}, _runcmd),
    Module("scripts_user", "modules-final", {}, _scripts_user, always=True),
    Module("final_message", "modules-final", {"final_message": str}, _final_message),
    Module("power_state_change", "after", {"power_state": dict}, _power_state),
)


def run_stage(work: Work, stage: str) -> None:
    """Run the modules of a stage; each one's failure is remembered and the next one runs."""
    for module in MODULES:
        if module.stage == stage and (module.always or any(key in work.config for key in module.keys)):
            try:
                module.do(work)
            except Refused as problem:
                work.outcome.fail(module.name, str(problem))
            except Exception as error:  # one module's fault must not leave the machine without the others
                work.outcome.fail(module.name, f"{type(error).__name__}: {error}")
