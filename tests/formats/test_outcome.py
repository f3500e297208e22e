"""What a guest says of itself: understood where it makes sense, harmless where it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.formats.outcome import from_console, from_result, is_gate, parse_report, preparation, told_host_key
from guesthouse.model.machine import Failure, Outcome, Stage


def report(**parts: Any) -> tuple[Stage, Outcome | None] | None:
    return parse_report(json.dumps(parts).encode())


def test_reachable() -> None:
    assert report(stage="reachable") == (Stage.REACHABLE, None)


def test_configured_well() -> None:
    assert report(stage="configured", ok=True, source="nocloud", log="chatter") == (
        Stage.CONFIGURED,
        Outcome(ok=True, source="nocloud"),
    )


def test_configured_with_failures() -> None:
    said = report(
        stage="configured", ok=False, source="nocloud", failures=[{"module": "users", "message": "no"}], log="end"
    )
    failures = (Failure("users", "no"),)
    assert said == (Stage.CONFIGURED, Outcome(ok=False, source="nocloud", failures=failures, log="end"))


def test_failures_are_believed_more_than_ok() -> None:
    said = report(stage="configured", ok=True, failures=[{"module": "users"}])
    assert said is not None
    assert said[1] == Outcome(ok=False, failures=(Failure("users", ""),))


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1m9Jb6Qy3P8F0c2dG5T1u0cWk8yQmC7bE4dYl2xN1v"


def test_the_key_of_its_ssh_server() -> None:
    line = json.dumps({"stage": "configured", "ok": True, "host_key": KEY}).encode()
    assert told_host_key(line) == KEY
    assert parse_report(line) == (Stage.CONFIGURED, Outcome(ok=True))


@pytest.mark.parametrize(
    "told",
    ["", "AAAA", KEY[:-1], f"{KEY}A", f"{KEY}\nother {KEY}", f"{KEY} me@here", f"@cert-authority * {KEY}", 7, None],
)
def test_what_is_no_such_key_is_none(told: object) -> None:
    assert told_host_key(json.dumps({"stage": "configured", "host_key": told}).encode()) == ""
    assert told_host_key(b"host_key") == ""


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"reachable",
        b"[]",
        b"{}",
        b'{"stage": "running"}',
        b'{"stage": 1}',
        b'{"stage": "configured", "ok": "yes"}',
        b'{"stage": "configured", "failures": [1]}',
        b'{"stage": "reachable"',
        b'{"stage": "\xff"}',
    ],
)
def test_nonsense_says_nothing(line: bytes) -> None:
    assert parse_report(line) is None


def test_what_a_guest_says_is_bounded_and_cannot_drive_a_terminal() -> None:
    failures = [{"module": "m" * 1000, "message": "\x1b[2Jgone\r\n" + "x" * 5000}] * 500
    said = report(stage="configured", ok=False, source="a\x07b\nc", failures=failures, log="\x9b1m\n" * 10000)
    assert said is not None
    outcome = said[1]
    assert outcome is not None
    assert len(outcome.failures) == 32
    assert all(len(f.module) <= 64 and len(f.message) <= 1000 for f in outcome.failures)
    assert outcome.source == "ab c"
    assert len(outcome.log) <= 8192
    everything = outcome.log + outcome.source + "".join(f.module + f.message for f in outcome.failures)
    assert all(letter.isprintable() or letter == "\n" for letter in everything)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(line: bytes) -> None:
    parse_report(line)
    is_gate(line)
    from_result(line)
    from_console(line.decode(errors="replace"))


@pytest.mark.parametrize("line", [b'{"stage": "gate"}', b'{"stage": "gate", "log": "ready to be frozen"}\n'])
def test_a_guest_at_its_gate(line: bytes) -> None:
    assert is_gate(line)
    assert parse_report(line) is None


@pytest.mark.parametrize(
    "line",
    [b"", b"gate", b'{"stage": "reachable"}', b'{"stage": "configured", "log": "gate"}', b'{"gate": true}', b"\xff"],
)
def test_not_yet_at_its_gate(line: bytes) -> None:
    assert not is_gate(line)


def test_cloud_init_done_well() -> None:
    result = {"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vda][dsmode=net]", "errors": []}}
    assert from_result(json.dumps(result).encode()) == Outcome(ok=True, source="nocloud")


def test_cloud_init_with_errors() -> None:
    result = {
        "v1": {"datasource": "DataSourceEc2Local", "errors": ["('scripts-user', RuntimeError('1 failures'))", "odd"]}
    }
    assert from_result(json.dumps(result).encode(), "last words") == Outcome(
        ok=False,
        source="ec2",
        failures=(Failure("scripts-user", "RuntimeError('1 failures')"), Failure("cloud-init", "odd")),
        log="last words",
    )


def test_a_result_without_a_source() -> None:
    assert from_result(b'{"v1": {"datasource": null, "errors": []}}') == Outcome(ok=True)


@pytest.mark.parametrize("result", [b"", b"{}", b'{"v1": []}', b'{"v1": {"errors": 1}}'])
def test_a_broken_result_says_nothing(result: bytes) -> None:
    assert from_result(result) is None


FINAL = (
    "Cloud-init v. 22.4.2 finished at Sun, 22 Nov 2026 15:04:05 +0000. "
    "Datasource DataSourceNoCloud [seed=/dev/vda].  Up 76.42 seconds\r\n"
)


def test_the_console_shows_the_end() -> None:
    assert from_console("[  OK  ] Started\r\n" + FINAL) == Outcome(ok=True, source="nocloud")


def test_the_console_shows_no_end_yet() -> None:
    assert from_console("Cloud-init v. 22.4.2 running 'modules:final' at Sun, 22 Nov 2026. Up 70 seconds.") is None


def test_the_console_shows_failed_modules() -> None:
    text = "2026-11-22 15:04:00,1 - cc_scripts_user.py[WARNING]: Failed to run module scripts-user\r\n" + FINAL
    outcome = from_console(text)
    assert outcome is not None
    assert not outcome.ok
    assert outcome.failures == (Failure("scripts-user", "Failed to run module scripts-user"),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"stage": "prepared"}', ""),
        (b'{"stage": "unprepared", "log": "it has no perl"}', "it has no perl"),
        (b'{"stage": "unprepared", "log": "\\u001b[31mno"}', "[31mno"),
        (b'{"stage": "unprepared"}', "it does not say why"),
        (b'{"stage": "reachable"}', None),
        (b"prepared", None),
        (b'{"stage": "prepared", "log": 1}', None),
    ],
)
def test_what_is_said_of_a_preparation(line: bytes, said: str | None) -> None:
    assert preparation(line) == said
