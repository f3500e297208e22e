"""What Prometheus is told."""

from __future__ import annotations

import asyncio
import os

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.doors.native.conftest import Open, furnish

from guesthouse.doors.native.durations import BUCKETS_S, Durations, Histogram
from guesthouse.model.resources import Event

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(client: httpx.AsyncClient) -> Samples:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Samples, metric: str, **labels: str) -> float | None:
    return samples.get((metric, frozenset(labels.items())))


async def test_machines_operations_and_their_durations(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    house.host.machines.gates["pause"] = asyncio.Event()
    await client.post("/machines/web/pause")
    samples = await scrape(client)
    assert value(samples, "guesthouse_machines", project="default", state="running") == 1
    labels = {"project": "default", "kind": "machine.pause"}
    open_ones = [value(samples, "guesthouse_operations", **labels, state=state) for state in ("waiting", "running")]
    assert 1.0 in open_ones
    took = {"project": "default", "kind": "machine.launch", "state": "done"}
    assert value(samples, "guesthouse_operation_duration_seconds_count", **took) == 1
    assert value(samples, "guesthouse_operation_duration_seconds_bucket", **took, le="+Inf") == 1
    again = await scrape(client)
    assert value(again, "guesthouse_operation_duration_seconds_count", **took) == 1


async def test_requests_are_counted_by_row_and_status(client: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await client.get(f"/machines/{name}")
    await client.get("/no/such/path")
    await client.request("INVENTED", "/machines")
    samples = await scrape(client)
    name = "guesthouse_http_requests_total"
    assert value(samples, name, method="GET", path="/machines/{machine}", status="404") == 2
    assert value(samples, name, method="GET", path="", status="404") == 1
    assert value(samples, name, method="other", path="", status="405") == 1


async def test_the_daemon_and_its_host(client: httpx.AsyncClient) -> None:
    samples = await scrape(client)
    assert value(samples, "guesthouse_host_cpus") == 64
    assert value(samples, "guesthouse_host_memory_bytes") == 262144 * 1024 * 1024
    resident = value(samples, "process_resident_memory_bytes")
    assert resident is not None
    assert resident > 10_000_000


async def test_scrapers_find_it_where_they_look(house: Open, client: httpx.AsyncClient) -> None:
    versionless = client.base_url.copy_with(path="/metrics")
    assert (await client.get(versionless)).status_code == 200
    async with house.remote("") as stranger:
        assert (await stranger.get(stranger.base_url.copy_with(path="/metrics"))).status_code == 401


async def test_a_tenant_sees_its_own_numbers_only(house: Open, client: httpx.AsyncClient) -> None:
    await furnish(client)
    await client.post("/projects", json={"name": "lab"})
    token = (await client.post("/tokens", json={"name": "watch", "role": "viewer"})).json()["secret"]
    async with house.remote(token) as watcher:
        samples = await scrape(watcher)
    assert value(samples, "guesthouse_machines", project="default", state="running") == 1
    assert {name for name, _ in samples} <= {
        "guesthouse_machines",
        "guesthouse_operations",
        *(f"guesthouse_operation_duration_seconds_{part}" for part in ("bucket", "count", "sum")),
    }
    assert all(("project", "default") in labels for _, labels in samples)
    assert str(os.getpid()) not in str(samples)


def event(number: int, kind: str, at: float, operation: str = "o") -> Event:
    return Event(
        number=number, project="p", kind=kind, subject_kind="machine", subject="m", subject_name="web", at=at,
        data={"operation": operation},
    )  # fmt: skip


async def test_durations_are_learnt_from_events_once() -> None:
    log = [
        event(1, "machine.start.accepted", 10.0, "before"),
        event(2, "machine.start.accepted", 20.0),
        event(3, "machine.start.done", 20.4),
        event(4, "machine.stop.done", 30.0, "never accepted"),
    ]

    async def after(number: int, limit: int) -> list[Event]:
        return [each for each in log if each.number > number][:limit]

    durations = Durations()
    durations.begin(1)
    await durations.read("p", after)
    await durations.read("p", after)
    (seen,) = durations.histograms.values()
    assert list(durations.histograms) == [("p", "machine.start", "done")]
    assert sum(seen.counts) == 1
    assert seen.sum_s == pytest.approx(0.4)
    log.append(event(5, "machine.start.done", 99.0, "before"))
    await durations.read("p", after)
    assert sum(seen.counts) == 1


def test_a_histogram_counts_upwards() -> None:
    histogram = Histogram()
    for seconds in (0.1, 0.2, 7000.0):
        histogram.add(seconds)
    told = dict(histogram.cumulative())
    assert told[str(BUCKETS_S[0])] == 1
    assert told["0.25"] == 2
    assert told["+Inf"] == 3
