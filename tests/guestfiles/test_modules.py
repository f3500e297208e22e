"""What each key of cloud-config does, in a scratch folder."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guesthouse.guestfiles.micro.firstboot import keys, modules, secureshell
from guesthouse.guestfiles.micro.firstboot.sources import from_files

from .conftest import ScratchGuest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF00 me"


def failures(guest: ScratchGuest, text: str, **more: Any) -> list[str]:
    outcome = guest.configure(yaml.safe_load(text), **more)
    return [f"{failure['module']}: {failure['message']}" for failure in outcome.failures]


# --- host name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name", "hosts"),
    [
        ({"hostname": "web"}, "web", "127.0.1.1 web"),
        ({"hostname": "web.example.org"}, "web", "127.0.1.1 web.example.org web"),
        ({"hostname": "web", "fqdn": "w.example.org"}, "web", "127.0.1.1 w.example.org web"),
        ({"fqdn": "w.example.org"}, "w", "127.0.1.1 w.example.org w"),
        ({"fqdn": "w.example.org", "prefer_fqdn_over_hostname": True}, "w.example.org", "127.0.1.1 w.example.org"),
        ({}, "meta", "127.0.1.1 meta.example.org meta"),
    ],
)
def test_host_name(guest: ScratchGuest, config: dict[str, Any], name: str, hosts: str) -> None:
    seed = from_files({"meta-data": b"local-hostname: meta.example.org", "user-data": b""}, "/dev/vdb")
    assert guest.configure(config, seed).failures == []
    assert guest.read("/etc/hostname") == f"{name}\n"
    assert hosts in guest.read("/etc/hosts").splitlines()
    assert guest.kernel == [("hostname", name)]


def test_a_bad_host_name_is_refused(guest: ScratchGuest) -> None:
    assert failures(guest, "hostname: 'a b'") == ["set_hostname: 'a b' is no host name"]
    assert not guest.exists("/etc/hostname")


def test_a_preserved_host_name_stays(guest: ScratchGuest) -> None:
    guest.configure({"hostname": "web", "preserve_hostname": True})
    assert not guest.exists("/etc/hostname")


# --- machine id -----------------------------------------------------------------------------------------------


def test_the_machine_id_is_the_instance_id_where_that_is_a_uuid(guest: ScratchGuest) -> None:
    seed = from_files({"meta-data": b"instance-id: 6F1C1A9E-7d5b-4c0a-9a53-3f4b0e2d1c00", "user-data": b""}, "/dev/vdb")
    guest.configure({}, seed)
    assert guest.read("/etc/machine-id") == "6f1c1a9e7d5b4c0a9a533f4b0e2d1c00\n"


@pytest.mark.parametrize("instance_id", [b"i-0123456789abcdef0", b"1", b"6f1c1a9e7d5b4c0a9a533f4b0e2d1c00-x"])
def test_the_machine_id_is_new_where_the_instance_id_may_be_another_machines_too(
    guest: ScratchGuest, instance_id: bytes
) -> None:
    guest.write("/proc/sys/kernel/random/uuid", b"11111111-2222-4333-8444-555555555555\n")
    guest.configure({}, from_files({"meta-data": b"instance-id: " + instance_id, "user-data": b""}, "/dev/vdb"))
    assert guest.read("/etc/machine-id") == "11111111222243338444555555555555\n"


# --- users, groups, keys --------------------------------------------------------------------------------------


def test_root_and_the_default_user_get_the_keys(guest: ScratchGuest) -> None:
    seed = from_files({"meta-data": b"public-keys: [from-meta]", "user-data": b""}, "/dev/vdb")
    assert guest.configure({"ssh_authorized_keys": [KEY]}, seed).failures == []
    for path in ("/root/.ssh/authorized_keys", "/home/guest/.ssh/authorized_keys"):
        assert guest.read(path).splitlines() == [KEY, "from-meta"]
        assert guest.mode(path) == 0o600
    assert guest.mode("/root/.ssh") == 0o700
    assert guest.owners["/home/guest/.ssh/authorized_keys"] == (1000, 1000)
    assert "guest:x:1000:1000:Guest:/home/guest:/bin/sh" in guest.read("/etc/passwd").splitlines()
    assert "users:x:1001:guest" in guest.read("/etc/group").splitlines()


def test_keys_by_number_are_read_as_ec2_gives_them() -> None:
    seed = from_files({"meta-data": b"public-keys: {0: one, 1: two}", "user-data": b""}, "/dev/vdb")
    assert seed.keys == ["one", "two"]


def test_root_is_closed_on_demand(guest: ScratchGuest) -> None:
    guest.configure({"ssh_authorized_keys": [KEY], "disable_root": True})
    assert not guest.exists("/root/.ssh/authorized_keys")
    assert guest.exists("/home/guest/.ssh/authorized_keys")


def test_users(guest: ScratchGuest) -> None:
    text = f"""
    groups: [admins, {{ops: [ann]}}]
    users:
    - default
    - name: ann
      gecos: "Ann: B"
      uid: 1200
      groups: admins, wheel
      sudo: ALL=(ALL) NOPASSWD:ALL
      shell: /bin/nosuch
      lock_passwd: false
      passwd: $6$salt$hash
      ssh_authorized_keys: ["{KEY}"]
    - {{name: daemon, system: true, no_create_home: true, shell: /bin/sh}}
    """
    outcome = guest.configure(yaml.safe_load(text))
    assert outcome.failures == []
    rows = guest.read("/etc/passwd").splitlines()
    assert "ann:x:1200:1200:Ann  B:/home/ann:/bin/sh" in rows
    assert "daemon:x:100:100::/home/daemon:/bin/sh" in rows
    assert not guest.exists("/home/daemon/x")
    groups = {row.split(":")[0]: row.split(":")[3] for row in guest.read("/etc/group").splitlines()}
    assert groups["admins"] == groups["wheel"] == groups["ops"] == "ann"
    shadow = dict(row.split(":")[:2] for row in guest.read("/etc/shadow").splitlines())
    assert shadow == {"root": "!", "guest": "!", "ann": "$6$salt$hash", "daemon": "!"}
    assert guest.mode("/etc/shadow") == 0o600
    assert guest.read("/home/ann/.ssh/authorized_keys") == f"{KEY}\n"
    assert [ignored["message"] for ignored in outcome.ignored] == [
        "user ann: sudo: the micro image has no such thing",
        "user ann: shell /bin/nosuch is not in the micro image, /bin/sh is",
    ]


def test_a_plain_password_is_hashed_without_being_an_argument(guest: ScratchGuest) -> None:
    guest.answers["mkpasswd"] = (0, b"Password: \n$6$x$y\n")
    guest.configure({"users": [{"name": "bob", "plain_text_passwd": "secret", "lock_passwd": False}]})
    assert (["mkpasswd", "-m", "sha512", "-P", "0"], b"secret\n") in guest.told
    assert "bob:$6$x$y:" in guest.read("/etc/shadow")


def test_a_locked_password_stays_locked(guest: ScratchGuest) -> None:
    guest.configure({"users": [{"name": "bob", "passwd": "$6$x$y"}]})
    assert "bob:!$6$x$y:" in guest.read("/etc/shadow")


def test_without_default_in_the_list_there_is_no_default_user(guest: ScratchGuest) -> None:
    guest.configure({"users": ["bob"]})
    assert [row.split(":")[0] for row in guest.read("/etc/passwd").splitlines()] == ["root", "bob"]


def test_passwords(guest: ScratchGuest) -> None:
    guest.answers["mkpasswd"] = (0, b"$6$a$b\n")
    text = """
    password: secret
    chpasswd: {expire: false, users: [{name: root, password: $6$r$r}], list: "root:$6$q$q"}
    ssh_pwauth: true
    """
    assert failures(guest, text) == []
    shadow = dict(row.split(":")[:2] for row in guest.read("/etc/shadow").splitlines())
    assert shadow == {"root": "$6$q$q", "guest": "$6$a$b"}


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("users: [{name: Ann}]", "users_groups: user name 'Ann': a small letter or _"),
        ("users: [{gecos: x}]", "users_groups: a user is a name, or a mapping with a name"),
        ("users: [{name: ann, ssh_import_id: [gh:a]}]", "users_groups: user ann: ssh_import_id is not supported"),
        ("groups: ['a b']", "users_groups: group name 'a b'"),
        ("chpasswd: {users: [{name: nobody, password: $6$x}]}", "set_passwords: there is no user 'nobody'"),
        ("chpasswd: {users: [{name: root, type: RANDOM}]}", "set_passwords: chpasswd: user root: type 'RANDOM'"),
        ("ssh_keys: {dsa_private: x}", "ssh: ssh_keys: dsa_private is not supported; known kinds are ed25519"),
    ],
)
def test_users_refused(guest: ScratchGuest, text: str, failure: str) -> None:
    found = failures(guest, text)
    assert len(found) == 1
    assert found[0].startswith(failure)


def test_host_keys_are_converted(guest: ScratchGuest) -> None:
    assert failures(guest, "ssh_keys: {ed25519_private: PEM, ed25519_public: x}") == []
    converted = [argv for argv, _ in guest.told if argv[0] == "dropbearconvert"]
    assert [argv[1:3] for argv in converted] == [["openssh", "dropbear"]]
    assert guest.read("/run/host-key.pem") == ""  # no copy of the key is left


def open_ssh_form(key: Ed25519PrivateKey) -> str:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    return key.private_bytes(pem, form, serialization.NoEncryption()).decode()


def test_an_ed25519_key_is_converted_without_a_program(guest: ScratchGuest) -> None:
    key = Ed25519PrivateKey.generate()
    assert guest.configure({"ssh_keys": {"ed25519_private": open_ssh_form(key)}}).failures == []
    path = "/etc/dropbear/dropbear_ed25519_host_key"
    numbers = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    assert Path(guest.path(path)).read_bytes() == b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + numbers
    assert guest.mode(path) == 0o600
    assert guest.told == []


@pytest.mark.parametrize("damage", ["locked", "cut", "other form", "check", "kind"])
def test_other_keys_are_left_to_the_program(guest: ScratchGuest, damage: str) -> None:
    lines = open_ssh_form(Ed25519PrivateKey.generate()).splitlines()
    data = base64.b64decode("".join(lines[1:-1]))
    at = data.index(b"ssh-ed25519", 60)  # in the private part, behind two equal numbers
    data = {
        "locked": data.replace(b"none", b"lock", 1),
        "cut": data[: at + 8],
        "check": data[: at - 5] + bytes([data[at - 5] ^ 1]) + data[at - 4 :],
        "kind": data[:at] + b"ssh-ed25518" + data[at + 11 :],
    }.get(damage, data)
    begin = "-----BEGIN PRIVATE KEY-----" if damage == "other form" else lines[0]
    private = "\n".join([begin, base64.b64encode(data).decode(), lines[-1]])
    guest.configure({"ssh_keys": {"ed25519_private": private}})
    assert [argv[0] for argv, _ in guest.told] == ["dropbearconvert"]


def test_a_host_key_that_dropbear_does_not_read_is_a_failure(guest: ScratchGuest) -> None:
    guest.answers["dropbearconvert"] = (1, b"Error: not a key\n")
    assert failures(guest, "ssh_keys: {ed25519_private: x}") == [
        "ssh: ed25519_private is no key that dropbear reads: Error: not a key"
    ]


def test_a_host_key_is_made_where_none_was_given(guest: ScratchGuest) -> None:
    said = b"Generating 256 bit ed25519 key, this may take a while...\nPublic key portion is:\n"
    guest.answers["dropbearkey"] = (0, said + b"ssh-ed25519 AAAAmade root@web\nFingerprint: SHA256:x\n")
    assert secureshell.make_host_keys(guest) == "ssh-ed25519 AAAAmade"
    guest.write(secureshell.KEY_FILES["ed25519"], b"given")
    assert secureshell.make_host_keys(guest) == ""


# --- files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        (None, b"hello"),
        ("b64", base64.b64encode(b"hello")),
        ("gz", gzip.compress(b"hello", mtime=0)),
        ("gz+b64", base64.b64encode(gzip.compress(b"hello", mtime=0))),
    ],
)
def test_files(guest: ScratchGuest, encoding: str | None, content: bytes) -> None:
    entry = {
        "path": "/srv/a/b",
        "content": content,
        "encoding": encoding,
        "permissions": "0640",
        "owner": "root:root",
    }
    assert guest.configure({"write_files": [entry]}).failures == []
    assert guest.read("/srv/a/b") == "hello"
    assert guest.mode("/srv/a/b") == 0o640


def test_files_are_appended_to_and_deferred(guest: ScratchGuest) -> None:
    text = """
    users: [ann]
    write_files:
    - {path: /srv/a, content: "1"}
    - {path: /srv/a, content: "2", append: true}
    - {path: /home/ann/b, owner: "ann:ann", content: x, defer: true}
    """
    assert failures(guest, text) == []
    assert guest.read("/srv/a") == "12"
    assert guest.owners["/home/ann/b"] == (1000, 1000)


@pytest.mark.parametrize(
    ("entry", "failure"),
    [
        ("{path: x}", "write_files: path: an absolute path is expected, not 'x'"),
        ("hello", "write_files: path: an absolute path is expected, not None"),
        ("{path: /a, source: {uri: x}}", "write_files: /a: source is not known"),
        ("{path: /a, content: '!', encoding: b64}", "write_files: /a: content is not base64"),
        ("{path: /a, content: x, encoding: gz}", "write_files: /a: content is not gzip"),
        ("{path: /a, content: x, encoding: rot13}", "write_files: /a: encoding 'rot13' is not known"),
        ("{path: /a, permissions: rw}", "write_files: /a: permissions 'rw' are not octal"),
        ("{path: /a, owner: ann}", "write_files: /a: there is no user 'ann'"),
        ("{path: /etc/passwd/x}", "write_files: /etc/passwd/x: "),
    ],
)
def test_files_refused(guest: ScratchGuest, entry: str, failure: str) -> None:
    found = failures(guest, f"write_files: [{entry}, {{path: /good, content: x}}]")
    assert len(found) == 1
    assert found[0].startswith(failure)
    assert guest.read("/good") == "x"  # the others are written all the same


# --- commands -------------------------------------------------------------------------------------------------


def test_commands_run_in_one_shell_in_order(guest: ScratchGuest) -> None:
    text = """
    bootcmd: [echo boot]
    runcmd: ["a=1", "false", [printf, "%s|", "it's", 2], "echo $a"]
    """
    assert failures(guest, text, scripts=[b"#!/bin/sh\necho script\n"]) == []
    assert guest.read("/var/log/cloud-init-output.log") == "boot\nit's|2|1\nscript\n"


def test_failed_commands_are_all_reported_with_their_last_words(guest: ScratchGuest) -> None:
    text = "{bootcmd: [exit 3], runcmd: [echo oops, exit 4]}"
    scripts = [b"#!/bin/sh\nexit 5\n", b"#!/bin/sh\nkill -9 $$\n"]
    assert failures(guest, text, scripts=scripts) == [
        "bootcmd: exit status 3",
        "runcmd: exit status 4: oops",
        "scripts_user: part-001: exit status 5; part-002: exit status 137",
    ]


def test_a_script_whose_interpreter_is_missing_is_a_failure(guest: ScratchGuest) -> None:
    (failure,) = failures(guest, "{}", scripts=[b"#!/usr/bin/nosuch\n"])
    assert failure.startswith("scripts_user: part-001: exit status 127: ")


@pytest.mark.parametrize("runcmd", ["{a: 1}", "[{a: 1}]", "[[[1]]]", "5"])
def test_commands_of_another_form_are_refused(guest: ScratchGuest, runcmd: str) -> None:
    (failure,) = failures(guest, f"runcmd: {runcmd}")
    assert failure.startswith("runcmd: runcmd")


def test_final_message_and_power_state(guest: ScratchGuest) -> None:
    assert failures(guest, "{final_message: 'from $datasource', power_state: {mode: poweroff}}") == []
    assert guest.read("/var/log/cloud-init-output.log") == "from DataSourceNone\n"
    assert guest.told[-1] == (["poweroff"], b"")


@pytest.mark.parametrize("state", ["{mode: sleep}", "{mode: reboot, delay: +30}", "{mode: reboot, when: now}"])
def test_power_states_refused(guest: ScratchGuest, state: str) -> None:
    (failure,) = failures(guest, f"power_state: {state}")
    assert failure.startswith("power_state_change: power_state: ")
    assert all(argv[0] not in ("poweroff", "reboot", "halt") for argv, _ in guest.told)


# --- keys -----------------------------------------------------------------------------------------------------


def test_every_key_is_in_one_table_only() -> None:
    done = {key for module in modules.MODULES for key in module.keys}
    assert not done & set(keys.IGNORED)
    assert not done & set(keys.REFUSED)
    assert not set(keys.IGNORED) & set(keys.REFUSED)


@pytest.mark.parametrize("key", sorted(keys.REFUSED))
def test_refused_keys_are_named(guest: ScratchGuest, key: str) -> None:
    assert failures(guest, f"{key}: [x]") == [f"{key}: {keys.REFUSED[key]}"]


@pytest.mark.parametrize("key", sorted(keys.IGNORED))
def test_ignored_keys_are_listed(guest: ScratchGuest, key: str) -> None:
    outcome = guest.configure({key: "x"})
    assert outcome.failures == []
    assert outcome.ignored == [{"module": key, "message": keys.IGNORED[key]}]


def test_unknown_keys_and_wrong_types_are_named(guest: ScratchGuest) -> None:
    assert failures(guest, "{hostnam: x, hostname: [1], write_files: x, users: 5}") == [
        "hostnam: the micro image does not know this key",
        "set_hostname: hostname must be a text, not [1]",
        "write_files: write_files must be a list, not 'x'",
        "users_groups: users must be a list or a text or a mapping, not 5",
    ]


def test_an_unforeseen_fault_of_a_module_does_not_stop_the_next(guest: ScratchGuest) -> None:
    (failure,) = failures(guest, "{users: [{name: ann, uid: [1]}], runcmd: [echo on]}")
    assert failure.startswith("users_groups: TypeError: ")
    assert "on" in guest.read("/var/log/cloud-init-output.log").splitlines()
