"""What a guest says of its configuration, by whichever channel: our report line, cloud-init's files, its console.

Rules
-----
1. A guest is hostile. What it says is bounded in length and number and freed of control characters: it ends
   up on somebody's terminal.
2. What cannot be read says nothing: None, never a guess.

Source: cloud-init 22.4, "status.json and result.json", module "Final Message"; our own report line is described
with `parse_report`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from guesthouse.model.machine import Failure, Outcome, Stage

LONGEST_REPORT_BYTES = 64 * 1024
_GATE = "gate"
_PREPARED, _UNPREPARED = "prepared", "unprepared"
_MOST_FAILURES = 32
_LONGEST_NAME = 64
_LONGEST_MESSAGE = 1000
_LONGEST_LOG = 8 * 1024

_ERROR = re.compile(r"^\('([^']+)', (.*)\)$", re.DOTALL)
_HOST_KEY = re.compile(r"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI[A-Za-z0-9+/]{43}")
_FINAL = re.compile(r"Cloud-init v\. \S+ finished at .{1,80}?\. Datasource (DataSource\w+)")
_FAILED_MODULE = re.compile(r"cc_(\w+)\.py\[(?:WARNING|ERROR)\]: ([^\r\n]+)")


class _ReportedFailure(msgspec.Struct):
    module: str
    message: str = ""


class _Report(msgspec.Struct):
    stage: str
    ok: bool = False
    source: str = ""
    failures: list[_ReportedFailure] = []
    log: str = ""
    host_key: str = ""


class _Result(msgspec.Struct):
    datasource: str | None = None
    errors: list[str] = []


class _ResultFile(msgspec.Struct):
    v1: _Result


def parse_report(line: bytes) -> tuple[Stage, Outcome | None] | None:
    """One line of the report channel, None when it makes no sense.

    ``{"stage": "reachable"}``, or ``{"stage": "configured", "ok": true, "source": "nocloud", "failures":
    [{"module": "users", "message": "..."}], "log": "..."}``.
    """
    try:
        report = msgspec.json.decode(line, type=_Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if report.stage == Stage.REACHABLE:
        return Stage.REACHABLE, None
    if report.stage == Stage.CONFIGURED:
        failures = [
            Failure(_line(f.module, _LONGEST_NAME), _text(f.message, _LONGEST_MESSAGE)) for f in report.failures
        ]
        return Stage.CONFIGURED, _outcome(report.source, failures, report.log, ok=report.ok)
    return None


def told_host_key(line: bytes) -> str:
    """The SSH host key that a line of the report channel tells, one of ed25519 as a line without comment; else empty.

    ``{"stage": "configured", ..., "host_key": "ssh-ed25519 AAAA..."}``
    """
    try:
        told = msgspec.json.decode(line, type=_Report).host_key
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return told if _HOST_KEY.fullmatch(told) else ""


def is_gate(line: bytes) -> bool:
    """Whether a line of the report channel says that the guest stands at its gate: ``{"stage": "gate"}``."""
    try:
        return msgspec.json.decode(line, type=_Report).stage == _GATE
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def preparation(line: bytes) -> str | None:
    """What a line of the report channel says of an image's preparation: empty when it is done, else why it cannot be.

    ``{"stage": "prepared"}``, or ``{"stage": "unprepared", "log": "it has no perl"}``; None for any other line.
    """
    try:
        report = msgspec.json.decode(line, type=_Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if report.stage == _UNPREPARED:
        return _line(report.log, _LONGEST_MESSAGE) or "it does not say why"
    return "" if report.stage == _PREPARED else None


def from_result(result: bytes, log: str = "") -> Outcome | None:
    """The outcome in cloud-init's ``result.json``; `log` is the end of its output, kept where it went wrong."""
    try:
        told = msgspec.json.decode(result, type=_ResultFile).v1
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return _outcome(_source(told.datasource or ""), map(_failure, told.errors), log)


def from_console(text: str) -> Outcome | None:
    """The outcome in what a guest wrote to its console, once cloud-init's final message is in it."""
    final = _FINAL.search(text)
    if final is None:
        return None
    failures = [
        Failure(_line(module.replace("_", "-"), _LONGEST_NAME), _text(message, _LONGEST_MESSAGE))
        for module, message in _FAILED_MODULE.findall(text)
    ]
    return _outcome(_source(final[1]), failures, text)


def _outcome(source: str, failures: Iterable[Failure], log: str, *, ok: bool = True) -> Outcome:
    kept = tuple(failures)[:_MOST_FAILURES]
    ok = ok and not kept
    return Outcome(
        ok=ok, source=_line(source, _LONGEST_NAME), failures=kept, log="" if ok else _text(log, _LONGEST_LOG)
    )


def _source(datasource: str) -> str:
    """``DataSourceNoCloud [seed=/dev/vdb]`` → ``nocloud``, ``DataSourceEc2Local`` → ``ec2``."""
    words = datasource.split()
    return words[0].removeprefix("DataSource").removesuffix("Local").lower() if words else ""


def _failure(error: str) -> Failure:
    """cloud-init writes the repr of (module, exception)."""
    match = _ERROR.match(error)
    module, message = (match[1], match[2]) if match else ("cloud-init", error)
    return Failure(_line(module, _LONGEST_NAME), _text(message, _LONGEST_MESSAGE))


def _text(hostile: str, longest: int) -> str:
    """The end of a text, without control characters other than line ends."""
    plain = "".join(letter for letter in hostile[-4 * longest :] if letter.isprintable() or letter == "\n")
    return plain.strip("\n")[-longest:]


def _line(hostile: str, longest: int) -> str:
    return _text(hostile, longest).replace("\n", " ")
