"""What the Debian guest reports, from what cloud-init 22.4 wrote when it was given such user-data."""

from __future__ import annotations

import json
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

import guesthouse.guestfiles.debian as debian

_SCRIPT = Path(debian.__file__).parent / "base/usr/lib/guesthouse/report"
_SOURCE = "DataSourceNoCloud [seed=/dev/vdb][dsmode=net]"
_EARLIER = "2026-11-22 15:40:00,001 - util.py[WARNING]: of an earlier boot\n"
_START = "2026-11-22 15:48:00,001 - util.py[DEBUG]: Cloud-init v. 22.4.2 running 'init-local' at Sun, 22 Nov 2026\n"
_SCRIPTS = "/var/lib/cloud/instance/scripts"
_NO_YAML = (
    '2026-11-22 15:50:20,101 - util.py[WARNING]: Failed loading yaml blob. Invalid format at line 2 column 11: "while '
    "parsing a flow sequence\n"
    '  in "<unicode string>", line 2, column 11:\n'
    "    hostname: [web\n"
    "2026-11-22 15:50:20,102 - util.py[WARNING]: Failed at merging in cloud config part from part-001: empty\n"
)
_WRONG_TYPE = (
    "2026-11-22 15:49:01,003 - schema.py[WARNING]: Invalid cloud-config provided: Please run 'sudo cloud-init schema "
    "--system' to see the schema errors.\n"
)
_DEPRECATED = (
    "2026-11-22 15:49:01,002 - schema.py[WARNING]: Deprecated cloud-config provided:\n"
    "chpasswd.list: DEPRECATED: List of ``username:password`` pairs.\n"
)
_USER = (
    "2026-11-22 15:49:02,001 - modules.py[DEBUG]: Running module users-groups (<module 'cloudinit.config."
    "cc_users_groups' from '/usr/lib'>) with frequency once-per-instance\n"
    "2026-11-22 15:49:02,002 - util.py[WARNING]: Failed to create user deploy\n"
    "2026-11-22 15:49:02,003 - util.py[DEBUG]: Failed to create user deploy\n"
    "Traceback (most recent call last):\n"
    "2026-11-22 15:49:02,004 - handlers.py[DEBUG]: finish: init-network/config-users-groups: FAIL: running\n"
    "2026-11-22 15:49:02,005 - util.py[WARNING]: Running module users-groups (<module 'x' from 'y'>) failed\n"
)
_SCRIPT_ENDS = (
    f"2026-11-22 15:49:26,600 - subp.py[DEBUG]: Unexpected error while running command.\n"
    f"Command: ['{_SCRIPTS}/part-001']\nExit code: 3\nReason: -\n"
    f"2026-11-22 15:49:26,601 - subp.py[DEBUG]: Unexpected error while running command.\n"
    f"Command: ['{_SCRIPTS}/runcmd']\nExit code: 7\nReason: -\n"
    "2026-11-22 15:49:26,615 - cc_scripts_user.py[WARNING]: Failed to run module scripts-user (scripts in "
    f"{_SCRIPTS})\n"
    "2026-11-22 15:49:26,625 - util.py[WARNING]: Running module scripts-user (<module 'x' from 'y'>) failed\n"
)
_SCHEMA = {
    "$defs": {
        "a": {"properties": {"runcmd": {}}},
        "b": {"properties": {"hostname": {}}},
        "part": {"properties": {"x": {}}},
    },
    "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
}


@pytest.fixture
def report(tmp_path: Path) -> Any:
    """The guest's program as a module, its files in a scratch folder."""
    loader = SourceFileLoader("debian_report", str(_SCRIPT))
    spec = spec_from_loader("debian_report", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    for name in ("PORT", "RESULT", "LOG", "OUTPUT", "MERGED", "SCHEMA", "HOST_KEY"):
        setattr(module, name, str(tmp_path / name))
    (tmp_path / "SCHEMA").write_text(json.dumps(_SCHEMA))
    return module


def _told(report: Any, log: str, errors: list[str], merged: str = "", datasource: str | None = _SOURCE) -> Any:
    for path, text in (
        (report.RESULT, json.dumps({"v1": {"datasource": datasource, "errors": errors}})),
        (report.LOG, _EARLIER + _START + log),
        (report.OUTPUT, "".join(f"line {number}\n" for number in range(30))),
        (report.MERGED, merged),
    ):
        Path(path).write_text(text)
    report.main()
    return json.loads(Path(report.PORT).read_text())


def test_all_went_well(report: Any) -> None:
    assert _told(report, "", [], "#cloud-config\n\n---\nhostname: web\nruncmd:\n- echo a\n...\n") == {
        "stage": "configured",
        "ok": True,
        "source": "nocloud",
        "failures": [],
        "ignored": [],
        "host_key": "",
    }


def test_the_key_that_the_guest_made_for_itself(report: Any) -> None:
    Path(report.HOST_KEY).write_text("ssh-ed25519 AAAA root@web\n")
    told = _told(report, "", [], datasource="DataSourceEc2Local")
    assert (told["source"], told["host_key"]) == ("ec2", "ssh-ed25519 AAAA")


def test_a_failing_script_is_named_with_its_exit_status_and_the_last_lines(report: Any) -> None:
    error = "('scripts-user', RuntimeError('Runparts: 2 failures (part-001,runcmd) in 2 attempted commands'))"
    told = _told(report, _SCRIPT_ENDS, [error])
    assert not told["ok"]
    assert told["failures"] == [
        {"module": "scripts_user", "message": "part-001: exit status 3"},
        {"module": "runcmd", "message": "exit status 7"},
    ]
    assert told["log"].splitlines() == [f"line {number}" for number in range(10, 30)]


def test_a_failing_module_and_what_it_warned_of(report: Any) -> None:
    error = "('users-groups', ProcessExecutionError(\"Unexpected error.\\nCommand: ['useradd', 'deploy']\"))"
    assert _told(report, _USER, [error])["failures"] == [
        {"module": "users_groups", "message": "Unexpected error. Command: ['useradd', 'deploy']"},
        {"module": "users_groups", "message": "Failed to create user deploy"},
    ]


def test_user_data_that_is_no_yaml(report: Any) -> None:
    told = _told(report, _NO_YAML, [])
    assert not told["ok"]
    assert [failure["module"] for failure in told["failures"]] == ["user_data", "user_data"]
    assert "line 2 column 11" in told["failures"][0]["message"]
    assert told["failures"][0]["message"].endswith("hostname: [web")


def test_wrong_types_are_told_in_the_words_of_the_schema(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [{"module": "write_files", "message": "write_files: 5 is not of type 'array'"}]
    monkeypatch.setattr(report, "schema_errors", lambda: said)
    assert _told(report, _WRONG_TYPE, [])["failures"] == said


def test_unknown_keys_are_failures(report: Any) -> None:
    merged = "#cloud-config\n\n---\nhostname: web\nruncmds:\n- echo a\nx: part of another key\n...\n"
    assert _told(report, "", [], merged)["failures"] == [
        {"module": "user_data", "message": "unknown key 'runcmds': cloud-init ignores it"},
        {"module": "user_data", "message": "unknown key 'x': cloud-init ignores it"},
    ]


def test_what_is_only_old_is_no_failure(report: Any) -> None:
    told = _told(report, _DEPRECATED, [])
    assert told["ok"]
    assert [entry["message"].partition(":")[0] for entry in told["ignored"]] == ["Deprecated cloud-config provided"]


def test_a_warning_that_nobody_knows_is_a_failure(report: Any) -> None:
    told = _told(report, "2026-11-22 15:49:00,000 - stages.py[WARNING]: the sky falls\n", [])
    assert told["failures"] == [{"module": "cloud-init", "message": "the sky falls"}]


def test_no_result_is_a_failure(report: Any) -> None:
    Path(report.LOG).write_text(_START)
    report.main()
    told = json.loads(Path(report.PORT).read_text())
    assert (told["ok"], told["source"]) == (False, "none")
    assert told["failures"] == [{"module": "cloud-init", "message": "cloud-init ended without a result"}]


@pytest.mark.parametrize(
    ("datasource", "source"),
    [
        (_SOURCE, "nocloud"),
        ("DataSourceEc2Local", "ec2"),
        ("DataSourceEc2", "ec2"),
        ("DataSourceNone", "none"),
        (None, "none"),
    ],
)
def test_the_source(report: Any, datasource: str | None, source: str) -> None:
    assert _told(report, "", [], datasource=datasource)["source"] == source
