"""Networks of a daemon that is not root: they stand in a user namespace, outlive the daemon, and lead out and in."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from tests.host.nets import a_network, connect, listener, serving
from tests.host.ordinary import ADDRESS, a_house_of_a_user, as_a_user, forbid_namespaces, processes
from tests.patience import PATIENCE_S
from tests.ports import a_port

from guesthouse.host.machines.process import find
from guesthouse.host.networks import outlet, own, visits
from guesthouse.host.networks.facts import LocalNetworkFacts
from guesthouse.host.networks.local import LocalNetworks, clean, open_networks
from guesthouse.host.networks.namespace import Namespace
from guesthouse.model.errors import Conflict, Failed, NoCapacity
from guesthouse.model.house import House
from guesthouse.model.machine import Forward
from guesthouse.model.network import NetworkMode

RUN = Path("/run")


def _stay() -> None:
    """Go nowhere."""


def _refuse() -> None:
    raise Conflict("it is taken", hint="wait")


def _open_all() -> tuple[socket.socket, tuple[visits.Descriptor, ...]]:
    return socket.create_server(("127.0.0.1", 0)), tuple(map(visits.Descriptor, os.pipe()))


@pytest.fixture
def envoy() -> Iterator[visits.Envoy]:
    envoy = visits.Envoy(_stay)
    yield envoy
    envoy.end()


def test_an_envoy_brings_back_values_errors_and_descriptors(envoy: visits.Envoy) -> None:
    assert envoy.ask(os.getpid) == envoy.ask(os.getpid) != os.getpid()
    assert envoy.ask(partial(dict, a=(1, None))) == {"a": (1, None)}
    with pytest.raises(FileNotFoundError) as caught:
        envoy.ask(partial(os.open, "/nowhere", os.O_RDONLY))
    assert caught.value.filename == "/nowhere"
    with pytest.raises(Conflict, match="taken") as refused:
        envoy.ask(_refuse)
    assert refused.value.hint == "wait"
    listening, (one, other) = envoy.ask(_open_all)
    with listening, socket.create_connection(listening.getsockname()):
        assert (listening.family, listening.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert not os.get_inheritable(listening.fileno())
    with os.fdopen(one, "rb") as reader, os.fdopen(other, "wb") as writer:
        writer.write(b"through")
        writer.close()
        assert reader.read() == b"through"


def test_an_envoy_that_is_lost_is_sent_again(envoy: visits.Envoy) -> None:
    first = envoy.ask(os.getpid)
    with pytest.raises(Failed, match="lost"):
        envoy.ask(partial(os._exit, 3))
    assert envoy.ask(os.getpid) != first


def test_an_envoy_holds_nothing_of_ours(envoy: visits.Envoy, tmp_path: Path) -> None:
    """Neither the house's lock nor a listening socket is there when the daemon has died."""
    with (tmp_path / "held").open("w") as held:
        pid = envoy.ask(os.getpid)
        theirs = [path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()]
        assert Path(held.name) in [path.readlink() for path in Path("/proc/self/fd").glob("[0-9]*") if path.exists()]
        assert Path(held.name) not in theirs


def test_an_envoy_that_cannot_go_says_why() -> None:
    envoy = visits.Envoy(partial(visits.go_into, Path("/proc/self/ns/nothing")))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            envoy.ask(os.getpid)
    envoy.end()


@pytest.mark.parametrize("bar", own.BARS, ids=lambda bar: bar.name)
def test_a_setting_in_the_way_is_named(bar: own.Bar) -> None:
    why = own.why_not(errno.EPERM, {bar.name: bar.value}.get)
    assert (why.message, why.hint) == (bar.reason, bar.fix)


def test_where_no_setting_is_in_the_way_the_kernels_word_is_the_reason() -> None:
    settings = {bar.name: "7" for bar in own.BARS}
    assert "Operation not permitted" in own.why_not(errno.EPERM, settings.get).message
    assert own.why_not(0, settings.get).hint


def _link_names(namespace: Namespace) -> list[str]:
    return [f"{index} {name}" for index, name in sorted(namespace.enter(socket.if_nameindex))]


async def _look(networks: LocalNetworks) -> dict[str, str]:
    return {each.name: each.level for each in await LocalNetworkFacts(networks).check()}


def test_networks_stand_and_outlive_the_daemon(tmp_path: Path) -> None:
    async def work() -> None:
        made = a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24")
        asked = made.port(1)
        async with a_house_of_a_user() as house:
            async with open_networks(house) as networks:
                assert networks.refused is None, networks.refused
                found = await _look(networks)
                assert found.keys() >= {"networks", "groups", "way out", "names"}
                assert set(found.values()) == {"ok"}
                await networks.apply(made.wanted)
                assert await networks.differs(made.wanted) == []
                inside = networks.namespace(made.network)
                tap = await networks.open_tap(made.wanted, asked.port)
                before, inode, holder = _link_names(inside), inside.inode(), _holder(house)
                with pytest.raises(Conflict, match="still held"):
                    await networks.open_tap(made.wanted, asked.port)
            async with open_networks(house) as networks:
                inside = networks.namespace(made.network)
                await networks.apply(made.wanted)
                assert (_link_names(inside), inside.inode(), _holder(house)) == (before, inode, holder)
                assert await networks.differs(made.wanted) == []
                os.close(tap)
                with pytest.raises(Conflict, match="links of the host are root's"):
                    await networks.apply(a_network(2, "wire", NetworkMode.BRIDGE, link="lo").wanted)
            assert len(await clean(house)) == 1
            assert processes(house) == []

    as_a_user(tmp_path, work)


def test_a_ground_without_networks_goes_with_the_daemon(tmp_path: Path) -> None:
    async def work() -> None:
        async with a_house_of_a_user() as house:
            async with open_networks(house) as networks:
                assert networks.refused is None, networks.refused
                assert _holder(house) > 0
            assert processes(house) == []

    as_a_user(tmp_path, work)


@pytest.mark.parametrize("has_names", [True, False])
def test_what_is_in_run_stays_there(tmp_path: Path, has_names: bool) -> None:
    """Whether or not root has names of namespaces there."""

    def furnish() -> None:
        (RUN / "word").write_text("of the host")
        (RUN / "folder").mkdir()
        (RUN / "folder" / "link").symlink_to("../word")
        (RUN / "link").symlink_to("folder")
        (RUN / "closed").mkdir(mode=0o700)
        if has_names:
            (RUN / "netns").mkdir()
            (RUN / "netns" / "theirs").touch()

    async def work() -> None:
        async with a_house_of_a_user() as house, open_networks(house) as networks:
            assert networks.refused is None, networks.refused
            ground = networks.host.ground
            assert await ground.run("cat", "/run/link/link") == "of the host"
            assert await ground.run("ip", "netns", "list") == ""
            await Namespace("ours", ground).make()
            assert await ground.run("ip", "netns", "list") == "ours\n"
            assert [path.name for path in RUN.glob("netns/*")] == (["theirs"] if has_names else [])

    as_a_user(tmp_path, work, furnish)


@pytest.mark.parametrize("program", ["slirp4none", "false"])
def test_without_a_way_out_networks_stand_and_ports_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """Its program is not installed, or does not begin."""

    async def work() -> None:
        monkeypatch.setattr(outlet, "_PROGRAM", program)
        made = a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24")
        async with a_house_of_a_user() as house, open_networks(house) as networks:
            found = {each.name: each for each in await LocalNetworkFacts(networks).check()}
            assert "names" not in found
            assert [name for name, each in found.items() if each.level != "ok"] == ["way out"]
            assert program in found["way out"].found
            assert "start the daemon again" in found["way out"].fix
            await networks.apply(made.wanted)
            made.port(1, forwards=(Forward(host_port=a_port(), guest_port=22),))
            with pytest.raises(NoCapacity, match=program) as caught:
                await networks.apply(made.wanted)
            assert caught.value.hint == found["way out"].fix

    as_a_user(tmp_path, work)


def test_a_ground_that_was_lost_is_made_anew(tmp_path: Path) -> None:
    """As after somebody has killed its holder: name servers and the way out of the old one go."""

    async def work() -> None:
        made = a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24")
        async with a_house_of_a_user() as house:
            async with open_networks(house) as networks:
                await networks.apply(made.wanted)
                ground = networks.host.ground
                assert isinstance(ground, own.Own)
                ground.holder.kill()
                await ground.holder.ended.wait()
                with pytest.raises(Failed, match="was killed"):
                    await networks.apply(a_network(2, "other", NetworkMode.NAT, "10.8.0.0/24").wanted)
            async with open_networks(house) as networks:
                await networks.apply(made.wanted)
                assert await networks.differs(made.wanted) == []
                assert len(processes(house)) == 3, "a holder, a name server, a way out"
            await clean(house)
            assert processes(house) == []

    as_a_user(tmp_path, work)


@pytest.mark.parametrize("point", ["named", "let out", "served"])
def test_a_daemon_killed_in_the_middle_leaves_what_the_next_one_finishes(tmp_path: Path, point: str) -> None:
    """At the moments at which the ground itself has changed; `test_network_deaths` has them all, on a host."""

    async def work() -> None:
        made = a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24")
        made.port(1, forwards=(Forward(host_port=a_port(), guest_port=22),))
        async with a_house_of_a_user() as house:
            daemon = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.host.networkdaemon", str(house.home), "apply", point,
                stdin=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            await daemon.communicate(msgspec.json.encode(made.wanted))
            assert daemon.returncode == -signal.SIGKILL
            holder = _holder(house)
            async with open_networks(house) as networks:
                await networks.apply(made.wanted)
                assert await networks.differs(made.wanted) == []
                assert _holder(house) == holder
                assert len(processes(house)) == 3, "a holder, a name server, a way out"
            await clean(house)
            assert processes(house) == []

    as_a_user(tmp_path, work)


def test_a_ground_that_was_half_made_is_finished(tmp_path: Path) -> None:
    """As by a daemon that was killed when the holder was there, and nothing else."""

    async def work() -> None:
        async with a_house_of_a_user() as house:
            house.networks.mkdir()
            holder = own._hold(house.networks / "holder", house.networks / "run")
            holder.forget()
            async with open_networks(house) as networks:
                assert _holder(house) == holder.pid
                assert set((await _look(networks)).values()) == {"ok"}

    as_a_user(tmp_path, work)


def test_ports_of_the_host_lead_in_and_the_way_out_comes_back(tmp_path: Path) -> None:
    async def work() -> None:
        made, port = a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24"), a_port()
        made.port(1, forwards=(Forward(host_port=port, guest_port=22),))
        async with a_house_of_a_user() as house:
            async with open_networks(house) as networks:
                await networks.apply(made.wanted)
                ground = networks.host.ground
                assert isinstance(ground, own.Own)
                assert ground.outlet is not None
                # The machine is missing: who comes to its port is let in and waits.
                assert await _is_open(port)
                async with serving({"host": listener(None, here := a_port())}):
                    out = ground.visit(partial(socket.create_connection, (ADDRESS, here), 10))
                    with out:
                        out.setblocking(True)
                        assert (await asyncio.to_thread(out.recv, 99)).startswith(b"host from")
                first = ground.outlet._process
                assert first is not None
                first.kill()
                await first.ended.wait()
                async with asyncio.timeout(PATIENCE_S):
                    while not await _is_open(port):
                        pass
                made.ports.clear()
                await networks.apply(made.wanted)
                assert not await _is_open(port)
            await clean(house)
            assert processes(house) == []

    as_a_user(tmp_path, work)


async def _is_open(port: int) -> bool:
    try:
        _, writer = await connect(None, "127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def test_a_user_who_may_not_open_taps_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        monkeypatch.setattr("guesthouse.host.networks.taps.TUN", "/proc/1/mem")
        async with a_house_of_a_user() as house, open_networks(house) as networks:
            (found,) = await LocalNetworkFacts(networks).check()
            assert (found.level, found.fix) == ("warning", "chmod 666 /proc/1/mem")
            assert "is not for this user" in found.found

    as_a_user(tmp_path, work)


def test_a_user_who_may_have_no_namespaces_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        forbid_namespaces()
        async with a_house_of_a_user() as house:
            async with open_networks(house) as networks:
                (found,) = await LocalNetworkFacts(networks).check()
                assert found == await LocalNetworkFacts(networks).refusal()
                assert "user-mode networks alone: this host allows no user namespaces" in found.found
                assert found.fix.startswith("sysctl user.max_user_namespaces=")
                with pytest.raises(NoCapacity, match="allows no user namespaces"):
                    await networks.apply(a_network(1, "lab", NetworkMode.NAT, "10.7.0.0/24").wanted)
            assert await clean(house) == []

    as_a_user(tmp_path, work)


def _holder(house: House) -> int:
    process = find(house.networks / "holder")
    assert process is not None
    process.forget()
    return process.pid
