"""What came of it: files in cloud-init's own layout, and lines on the host's report port.

The host reads one JSON object a line from the port `org.guesthouse.report.0`:
a template says ``{"stage": "gate"}`` when it may be frozen, everybody ``{"stage": "reachable"}`` when the SSH
server listens, then
``{"stage": "configured", "ok", "source", "failures": [{"module", "message"}], "ignored": [...], "log", "host_key"}``.

A port takes nothing while nobody on the host has it open; writing to it waits for that. The boot does not wait: from
then on a process of its own gets the lines, and writes them when somebody is there.

Source: cloud-init's reference of status.json and result.json; Linux's sysfs class "virtio-ports".
"""

from __future__ import annotations

import json
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .guest import Guest

PORT = "/dev/virtio-ports/org.guesthouse.report.0"
RUN = "/run/cloud-init"
STATUS = RUN + "/status.json"
RESULT = RUN + "/result.json"
_STAGES = ("init-local", "init", "modules-config", "modules-final")
_LOG_LINES = 20


class Outcome:
    """Failures and ignored settings so far, in order."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.source = "none"
        self.source_detail = "DataSourceNone"
        self.host_key = ""
        self.failures: list[dict[str, str]] = []
        self.ignored: list[dict[str, str]] = []
        self.stages: dict[str, dict[str, Any]] = {
            name: {"start": None, "finished": None, "errors": []} for name in _STAGES
        }
        self.stage: str | None = None
        self._messenger: int | None = None

    def fail(self, module: str, message: str) -> None:
        """Remember a failure; it goes to the log as well."""
        self.failures.append({"module": module, "message": message})
        if self.stage is not None:
            self.stages[self.stage]["errors"].append(_as_cloud_init_says(module, message))
        self.guest.log(f"{module} failed: {message}")

    def ignore(self, module: str, message: str) -> None:
        """Remember a setting that has no meaning here."""
        self.ignored.append({"module": module, "message": message})
        self.guest.log(f"{module} ignored: {message}")

    def enter(self, stage: str | None, time_s: float) -> None:
        """End the stage that runs and begin another; `status.json` says so at once."""
        if self.stage is not None:
            self.stages[self.stage]["finished"] = time_s
        if stage is not None:
            self.stages[stage]["start"] = time_s
        self.stage = stage
        self._write(STATUS, {"v1": {"datasource": self.source_detail, "stage": stage, **self.stages}})

    def at_gate(self) -> None:
        """Tell the host that this template may be frozen."""
        self._tell({"stage": "gate"})

    def reachable(self) -> None:
        """Tell the host that the SSH server listens."""
        self._tell({"stage": "reachable"})

    def configured(self) -> None:
        """Write the result and tell the host."""
        errors = [_as_cloud_init_says(**failure) for failure in self.failures]
        self._write(RESULT, {"v1": {"datasource": self.source_detail, "errors": errors}})
        self._tell(
            {
                "stage": "configured",
                "ok": not self.failures,
                "source": self.source,
                "failures": self.failures,
                "ignored": self.ignored,
                "log": self.guest.last_lines(_LOG_LINES) if self.failures else "",
                "host_key": self.host_key,
            }
        )

    def _write(self, path: str, document: dict[str, Any]) -> None:
        # A reader sees the old document or the new one, never half of it.
        self.guest.write(path + ".new", json.dumps(document, indent=1).encode() + b"\n")
        os.replace(self.guest.path(path + ".new"), self.guest.path(path))

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._send(json.dumps(message).encode() + b"\n")
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self.guest.log(f"report port: {error.strerror}")

    def _send(self, line: bytes) -> None:
        if self._messenger is None:
            # Unbuffered and without O_CREAT: a machine without the port says nothing.
            with open(self.guest.path(PORT), "r+b", buffering=0) as port:
                if _takes(port.fileno()):
                    port.write(line)
                    return
                self._messenger = self.guest.pour_into(port.fileno())
        os.write(self._messenger, line)


def _takes(port: int) -> bool:
    """Whether a line that is written to the port now goes to somebody."""
    poll = select.poll()
    poll.register(port, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))


def _as_cloud_init_says(module: str, message: str) -> str:
    return f"({module!r}, RuntimeError({message!r}))"
