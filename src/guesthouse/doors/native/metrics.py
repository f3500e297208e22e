"""What Prometheus is told: machines and operations as they are now, how long operations took, and the daemon.

Rules
-----
1. Everything is read when it is asked for, from the views that lists use; nothing is kept up to date meanwhile.
2. An asker sees the machines and operations of the projects that it may see. Requests, process and host are for the
   house's operators.
3. Names follow Prometheus' conventions: base units, ``_total`` for counters, no unbounded label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from prometheus_client import ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from guesthouse.doors.native.rows import Call, Door, NoParams
from guesthouse.engine.engine import Engine
from guesthouse.engine.intents import Asker
from guesthouse.model.resources import Event, Project, Role
from guesthouse.ports import Capacity

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BYTES_PER_MIB = 1024 * 1024


async def scrape(call: Call[NoParams]) -> bytes:
    """The metrics in Prometheus' text format."""
    projects = await call.engine.views.projects(call.asker)
    if not call.asker.house:
        projects = [project for project in projects if project.id == call.asker.project]
    families = await _of_projects(call.door, call.asker, projects)
    if call.asker.house:
        families += _of_host(await call.engine.host.capacity())
        families.append(_of_requests(call.door))
        families += ProcessCollector(registry=None).collect()
    registry = CollectorRegistry()
    registry.register(_Told(families))
    return generate_latest(registry)


class _Told(Collector):
    """A collector of what is known already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


async def _of_projects(door: Door, asker: Asker, projects: Sequence[Project]) -> list[Metric]:
    engine = door.engine
    machines = GaugeMetricFamily("guesthouse_machines", "Machines", labels=["project", "state"])
    operations = GaugeMetricFamily(
        "guesthouse_operations", "Operations that have not ended", labels=["project", "kind", "state"]
    )
    took = HistogramMetricFamily(
        "guesthouse_operation_duration_seconds",
        "Time from an operation's acceptance to its end",
        labels=["project", "kind", "state"],
    )
    for project in projects:
        of_project = msgspec.structs.replace(asker, project=project.id, role=Role.VIEWER)
        states = Counter(row.state for row in await engine.views.machines(of_project))
        for state, count in sorted(states.items()):
            machines.add_metric([project.name, state.value], count)
        rows = await engine.views.operations(of_project, all=False)
        for (kind, word), count in sorted(Counter((row.kind, row.state.value) for row in rows).items()):
            operations.add_metric([project.name, kind, word], count)
        await _read_durations(door, engine, of_project)
        for (owner, kind, word), seen in sorted(door.durations.histograms.items()):
            if owner == project.id:
                took.add_metric([project.name, kind, word], list(seen.cumulative()), seen.sum_s)
    return [machines, operations, took]


async def _read_durations(door: Door, engine: Engine, asker: Asker) -> None:
    async def events(after: int, limit: int) -> Sequence[Event]:
        return await engine.views.events(asker, after=after, limit=limit)

    await door.durations.read(asker.project, events)


def _of_host(capacity: Capacity) -> Iterator[Metric]:
    for name, meaning, value in (
        ("cpus", "Processors of the host", capacity.cpus),
        ("memory_bytes", "Memory of the host", capacity.memory_mib * _BYTES_PER_MIB),
        ("memory_free_bytes", "Memory of the host that is free", capacity.memory_free_mib * _BYTES_PER_MIB),
        ("disk_free_bytes", "Space for disks and images that is free", capacity.disk_free_mib * _BYTES_PER_MIB),
    ):
        yield GaugeMetricFamily(f"guesthouse_host_{name}", meaning, value=value)


def _of_requests(door: Door) -> Metric:
    family = CounterMetricFamily(
        "guesthouse_http_requests", "Requests answered by the native door", labels=["method", "path", "status"]
    )
    for (method, path, status), count in sorted(door.requests.items()):
        family.add_metric([method, path, str(status)], count)
    return family
