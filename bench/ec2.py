"""The EC2 door beside moto's server: the same signed requests, one after the other, over the loopback.

Rules
-----
1. Ours has the host in memory that the tests have: what is measured is asking, accepting and answering. moto makes
   nothing real either.
2. A server's time is that of its process on the processor; a launch is measured from the request to the answer.
3. Ours writes what it accepts to the disk; moto keeps it in memory.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from bench.ec2_house import EVERY
from bench.table import Row, Section, limited

SOME, MANY, LAUNCHES = 1000, 10_000, 15
MOTO = "moto[ec2,server]==5.2.5"
_TICKS = os.sysconf("SC_CLK_TCK")
_ALL = {"Action": "DescribeInstances"}
_BY_TAG = {**_ALL, "Filter.1.Name": "tag:role", "Filter.1.Value.1": "db"}
Say = Callable[[str], None]


@dataclass
class Server:
    """A server of EC2's, and what it takes to ask it."""

    process: subprocess.Popen[str]
    environment: dict[str, str]

    def ask(self, parameters: dict[str, str]) -> bytes:
        """The document of an answer; raises `RuntimeError` where it is a refusal."""
        url = self.environment["AWS_ENDPOINT_URL"] + "/"
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        request = AWSRequest("POST", url, headers, urlencode({**parameters, "Version": "2016-11-15"}))
        key, secret = self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"]
        SigV4Auth(Credentials(key, secret), "ec2", self.environment["AWS_DEFAULT_REGION"]).add_auth(request)
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
        connection.request("POST", "/", request.data, dict(request.headers.items()))
        answer = connection.getresponse()
        document = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(document.decode()[:500])
        return document

    def processor_s(self) -> float:
        """Seconds that it has been on the processor."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mib(self) -> float:
        """What it has in memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def costs(self, parameters: dict[str, str], instances: int, times: int = 1) -> float:
        """Seconds on the processor for one such request; checks how many instances the answer has."""
        begun = self.processor_s()
        for _ in range(times):
            found = self.ask(parameters).count(b"<instanceId>")
        spent = (self.processor_s() - begun) / times
        if found != instances:
            raise RuntimeError(f"{found} instances in the answer, not {instances}")
        return spent

    def launch(self, count: int = 1) -> float:
        """Seconds from the request for instances to its answer."""
        asked = {
            "Action": "RunInstances",
            "ImageId": self.environment["IMAGE"],
            "SubnetId": self.environment["SUBNET"],
            "InstanceType": "t3.micro",
            "MinCount": str(count),
            "MaxCount": str(count),
            "TagSpecification.1.ResourceType": "instance",
            "TagSpecification.1.Tag.1.Key": "role",
            "TagSpecification.1.Tag.1.Value": "web",
        }
        begun = time.perf_counter()
        self.ask(asked)
        return time.perf_counter() - begun


def measure(say: Say) -> Section:
    """Launches, lists, a filter, memory."""
    with ExitStack() as stack:
        ours = stack.enter_context(_ours())
        say("installing moto")
        try:
            moto = stack.enter_context(_moto())
        except (OSError, subprocess.SubprocessError) as error:
            return Section("The EC2 door", _rows(ours, None, say), [f"Without moto: {error}."])
        return Section("The EC2 door", _rows(ours, moto, say))


def _rows(ours: Server, moto: Server | None, say: Say) -> list[Row]:
    say(f"{LAUNCHES} launches")
    launches = [ours.launch() for _ in range(LAUNCHES)]
    theirs = [moto.launch() for _ in range(LAUNCHES)] if moto else []
    rows = [_faster("RunInstances, until it is accepted", launches, theirs, 10)]
    say(f"{SOME} instances")
    _fill(ours, SOME - LAUNCHES)
    first = ours.costs(_ALL, SOME)
    again = ours.costs(_ALL, SOME, 20)
    if moto:
        moto.launch(SOME - LAUNCHES)
        slow = [moto.costs(_ALL, SOME)]
        rows.append(_faster(f"DescribeInstances of {SOME:,}, the first time", [first], slow, 60))
        rows.append(_faster(f"DescribeInstances of {SOME:,}, again", [again], slow, 60))
    say(f"{MANY} instances")
    _fill(ours, MANY - SOME)
    rows += [
        _limited(f"DescribeInstances of {MANY:,}, the first time", ours.costs(_ALL, MANY), 0.5),
        _limited(f"DescribeInstances of {MANY:,}, nothing changed", ours.costs(_ALL, MANY, 10), 0.05),
        _limited(f"a tag's filter over {MANY:,}", ours.costs(_BY_TAG, _chosen(), 10), 0.05),
    ]
    memory = ours.memory_mib()
    rows.append(Row(f"memory with {MANY:,}", f"{memory:.0f} MiB", "", "≤ 150 MiB", memory <= 150))
    rows.append(limited(f"RunInstances beside {MANY:,}", [ours.launch() for _ in range(5)], 1000))
    return rows


def _chosen() -> int:
    """How many have the role that is filtered by: none of those that were launched."""
    return sum(number % EVERY == 0 for number in range(LAUNCHES, MANY))


def _faster(what: str, here_s: list[float], there_s: list[float], times: float) -> Row:
    here, there = statistics.median(here_s), statistics.median(there_s) if there_s else 0.0
    shown = f"{here * 1000:.1f} ms"
    if not there_s:
        return Row(what, shown)
    ratio = there / here if here else float("inf")
    return Row(what, shown, f"{there * 1000:.1f} ms, moto: {ratio:.0f}x", f"≥ {times:.0f}x", ratio >= times)


def _limited(what: str, here_s: float, limit_s: float) -> Row:
    return Row(what, f"{here_s * 1000:.0f} ms", "", f"≤ {limit_s * 1000:.0f} ms", here_s <= limit_s)


def _fill(ours: Server, count: int) -> None:
    assert ours.process.stdin is not None and ours.process.stdout is not None
    ours.process.stdin.write(f"{count}\n")
    ours.process.stdin.flush()
    if not ours.process.stdout.readline():
        raise RuntimeError("the house ended")


@contextmanager
def _ours() -> Iterator[Server]:
    argv = [sys.executable, "-m", "bench.ec2_house"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield Server(process, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def _moto() -> Iterator[Server]:
    """moto's server, installed for this."""
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder, "bin")
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([there / "pip", "install", "--quiet", "--quiet", MOTO], check=True, stderr=subprocess.DEVNULL)
        argv = [there / "moto_server", "--host", "127.0.0.1", "--port", "0"]
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield _furnished(process)
            finally:
                process.terminate()
                process.wait()


def _furnished(process: subprocess.Popen[str]) -> Server:
    """moto's server with an image and a subnet of its own."""
    assert process.stderr is not None
    url = next(line.split()[-1] for line in process.stderr if "Running on" in line)
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    server = Server(process, {"AWS_ENDPOINT_URL": url, **keys})
    for name, action, tag in (("IMAGE", "DescribeImages", "imageId"), ("SUBNET", "DescribeSubnets", "subnetId")):
        document = server.ask({"Action": action}).decode()
        server.environment[name] = document.partition(f"<{tag}>")[2].partition("<")[0]
    return server
