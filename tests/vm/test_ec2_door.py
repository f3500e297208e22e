"""The EC2 door of a real daemon, as `aws` finds it by what is printed: over the daemon's restart, and over TLS."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.test_serve import serve, stop
from tests.host.boxes import a_house
from tests.patience import PATIENCE_S

from guesthouse.model.house import House

pytestmark = pytest.mark.vm
PROGRAMS = Path(sys.executable).parent
# As people work: in one shell, with the words of the documentation.
ASK = 'eval "$(guest ec2 credentials)"; aws {} --output json'


class Shell:
    """A shell on the box of a house."""

    def __init__(self, house: House) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        path = f"{PROGRAMS}:{kept['PATH']}"
        self._environment = {**kept, "PATH": path, "GUESTHOUSE_HOME": str(house.home), "HOME": str(house.home)}

    def __call__(self, line: str, code: int = 0) -> str:
        """What a line says, on either stream; it must end with that code."""
        ended = subprocess.run(
            ("sh", "-c", line), env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert ended.returncode == code, ended.stdout
        return ended.stdout

    def asks(self, words: str) -> dict[str, object]:
        """What `aws` is answered."""
        answer: dict[str, object] = json.loads(self(ASK.format(words)))
        return answer


@pytest.fixture
def house() -> Iterator[House]:
    with a_house() as house:
        assert serve(house).returncode == 0
        try:
            yield house
        finally:
            stop(house)


def test_the_door_of_a_daemon(house: House) -> None:
    shell = Shell(house)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "Address already in use" in shell(f"guest ec2 enable --listen 127.0.0.1:{port}", code=4)
    shell(f"guest ec2 enable --listen 127.0.0.1:{port}")
    assert shell.asks("sts get-caller-identity")["Account"] == "0" * 12
    stop(house)
    assert serve(house).returncode == 0
    (region,) = shell.asks("ec2 describe-regions")["Regions"]  # type: ignore[misc]
    assert region["RegionName"] == "local-1"
    shell(f"guest ec2 enable --listen 127.0.0.1:{port} --tls")
    assert "AWS_CA_BUNDLE=" in shell("guest ec2 credentials")
    assert shell.asks("ec2 describe-instances") == {"Reservations": []}
    unknown = ASK.replace("; aws", "; unset AWS_CA_BUNDLE; aws").format("ec2 describe-instances")
    assert "CERTIFICATE_VERIFY_FAILED" in shell(f"{unknown} 2>&1 || true")
    printed = shell("guest ec2 credentials").replace("\n", "; ")
    shell("guest ec2 disable")
    assert "Could not connect to the endpoint URL" in shell(f"{printed} aws ec2 describe-regions || true")
    shell("guest ec2 show", code=3)
